"""One turn of a candidate: every latency, every call and every sample."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.bench.figures import StartUp
from vidtok_edge.runtime.bench.requirement import require
from vidtok_edge.runtime.bench.sample import Sample

__all__ = ["CallTimes", "TurnResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """Where the time of each call of a step went, in whole microseconds."""

    upload: tuple[int, ...]
    compute: tuple[int, ...]
    download: tuple[int, ...]
    overhead: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """One turn, every latency of it in whole microseconds, by slot."""

    started: float
    """Unix time."""
    backend: str
    graphs: tuple[str, ...]
    meters: tuple[str, ...]
    meters_missing: tuple[str, ...]
    """What would have been metered, and what that takes."""
    frames: int
    dropped: int
    most_waiting: int
    waiting_at_end: int
    unfinished: int
    elapsed_us: int
    busy_us: int
    cpu_us: int
    peak_rss_mb: float | None
    peak_device_mb: float | None
    start_up: StartUp
    latency_us: tuple[tuple[int, ...], ...]
    ready_us: tuple[tuple[int, ...], ...]
    """When each latent was, since measuring began."""
    picture_latency_us: tuple[tuple[int, ...], ...]
    encoder_calls_us: CallTimes
    decoder_calls_us: CallTimes
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        latents = [len(slot) for slot in self.latency_us]
        require(latents == [len(slot) for slot in self.ready_us], "ready_us is not latency_us'")
        times = [v for slots in (self.latency_us, self.ready_us) for slot in slots for v in slot]
        require(min([self.elapsed_us, *times]) >= 0, "a time is negative")
