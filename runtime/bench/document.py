"""The document of a benchmark: all that is printed, drawn and written of it, as plain facts.

`measuring` makes it and `showing` draws it, here or on another machine: neither asks the bundles,
the backends or the meters again. docs/bench.md says what each field is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from vidtok_edge.runtime.bench.candidate_result import CandidateResult
from vidtok_edge.runtime.bench.ceilings import Ceilings
from vidtok_edge.runtime.bench.figures import Breakdown
from vidtok_edge.runtime.bench.latency import Histogram
from vidtok_edge.runtime.bench.machine import Machine
from vidtok_edge.runtime.bench.pictures import Pictures
from vidtok_edge.runtime.bench.ratio import Ratio
from vidtok_edge.runtime.bench.requirement import require
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.manifest.plain import ADDED_LATER

__all__ = ["FORMAT", "SCHEMA", "Document", "Method"]

FORMAT = "vidtok-edge-bench"
SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What the figures' statistics go by."""

    samples_needed: dict[str, int]
    """Of each percentile, from how many latents on it is told."""
    level: float
    """How likely it may be that any comparison finds a difference where none is."""
    comparisons: int
    """That the level is divided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Everything; `candidates[0]` is what the others are held to."""

    format: str
    schema: int
    started: str
    """ISO 8601, UTC."""
    machine: Machine
    settings: Settings
    method: Method
    candidates: tuple[CandidateResult, ...]
    """Those of which a round is complete."""
    troubles: tuple[str, ...]
    """What of the plan was not measured, and why."""
    ratios: tuple[Ratio, ...]
    histogram: Histogram | None
    pictures: Pictures | None
    """None: nobody asked for them, or no candidate is the runtime's own."""
    ceilings: tuple[Ceilings, ...] = field(default=(), metadata=ADDED_LATER)
    """Of the devices that candidates ran on, measured in the same run."""

    def __post_init__(self) -> None:
        require(datetime.fromisoformat(self.started).tzinfo is not None, "started has no zone")
        require(bool(self.candidates), "there is no candidate")
        shares = len(self.candidates if self.histogram is None else self.histogram.shares)
        require(shares == len(self.candidates), "the histogram is not of these candidates")

    def ceilings_of(self, part: Breakdown) -> Ceilings | None:
        """Of the device that a step ran on: a CPU copies nothing to or from it."""
        on_cpu = part.upload_ms is None
        return next((one for one in self.ceilings if one.of_cpu == on_cpu), None)

    @property
    def started_at(self) -> datetime:
        """When."""
        return datetime.fromisoformat(self.started)
