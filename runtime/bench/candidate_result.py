"""One candidate of a benchmark: what it is, and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from vidtok_edge.runtime.bench.ceilings import CallWork
from vidtok_edge.runtime.bench.figures import Figures
from vidtok_edge.runtime.bench.latency import Curve
from vidtok_edge.runtime.bench.requirement import require
from vidtok_edge.runtime.bench.turn_result import TurnResult
from vidtok_edge.runtime.manifest.model import WeightsFacts
from vidtok_edge.runtime.manifest.plain import ADDED_LATER

__all__ = ["CandidateResult", "ClipQuality", "ProvenQuality", "RanGraph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RanGraph:
    """A graph that ran, or that the engine which ran was built of."""

    name: str
    """As its file is called: `encoder.int8`."""
    form: str
    sha256: str
    """Of the file; empty where PyTorch ran the step."""
    data_sha256: str
    """Of its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipQuality:
    """What the bundle's verification said of one precision on one clip."""

    graphs: str
    """`fp32`, `fp16`, `int8`, `int8-tensorrt`."""
    clip: str
    tokens_equal: float | None
    """To those of float32, as a share."""
    psnr_db: float
    """Of the reconstruction against the source."""
    ssim: float
    loss_db: float
    """Of PSNR, to float32's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenQuality:
    """What the proof that it ran under found, against the reference in float32."""

    tokens_equal: float | None
    """As a share; None where latents are no tokens."""
    pictures_db: float | None
    """Of the pictures over their error; None where nothing was decoded."""

    def __post_init__(self) -> None:
        require(0 <= (self.tokens_equal or 0) <= 1, "a share of equal tokens is 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """One candidate: what it is, and what was measured of it."""

    name: str
    bundle: str
    backend: str
    """As it was asked for."""
    precision: str
    threads: int | None
    variant: str
    weights: WeightsFacts
    toolkit: str
    verified: bool
    runs_on: str
    graphs: tuple[RanGraph, ...]
    """The encoder's, and the decoder's where it ran."""
    io: str
    height: int
    width: int
    streams: int
    chunk: int
    frames_per_latent: int
    figures: Figures
    curve: Curve | None
    quality: tuple[ClipQuality, ...]
    """Of all of the bundle's precisions; empty where nobody measured it."""
    turns: tuple[TurnResult, ...]
    proof: str = field(default="", metadata=ADDED_LATER)
    """The proof that it ran under, or why there is none (docs/prove.md); empty where PyTorch ran
    the steps, which prove nothing."""
    compile_mode: str = field(default="", metadata=ADDED_LATER)
    """Of torch.compile; empty where nothing was compiled, or nobody chose."""
    proven: ProvenQuality | None = field(default=None, metadata=ADDED_LATER)
    """Of the proof that it ran under; None where there is none."""
    work: tuple[CallWork, ...] = field(default=(), metadata=ADDED_LATER)
    """The encoder's, and the decoder's where it ran; empty where nobody counted it."""

    def __post_init__(self) -> None:
        require(bool(self.turns), "there is no turn")
        require(bool(self.graphs), "there is no graph")
