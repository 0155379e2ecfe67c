"""What was measured of a candidate, in figures."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.bench.latency import Latency

__all__ = ["Breakdown", "Figures", "StartUp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where the time of a call goes: medians in milliseconds.

    A copy is None where the backend makes none (the CPU) or does not tell it from computing (ONNX
    Runtime's CUDA provider, downloads).
    """

    calls: int
    upload_ms: float | None
    compute_ms: float
    download_ms: float | None
    overhead_ms: float
    overhead_share: float
    """Of the step (the other three): the median over the calls."""

    @property
    def total_ms(self) -> float:
        """All four."""
        return (self.upload_ms or 0) + self.compute_ms + (self.download_ms or 0) + self.overhead_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """From nothing to the first token, in milliseconds."""

    process_ms: float
    """Interpreter, numpy, this package: until the bundle is asked for."""
    load_ms: float
    """Read and check the bundle's manifest and files."""
    open_ms: float
    """Import the backend and make the encoder, and the decoder where there is one, ready."""
    first_token_ms: float
    """The first frame until its tokens; frames are handed over at once."""

    @property
    def total_ms(self) -> float:
        """All of it."""
        return self.process_ms + self.load_ms + self.open_ms + self.first_token_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured of one candidate. None: nothing here tells, or too few samples."""

    backend: str
    fell_back: str
    latency: Latency
    pictures: Latency | None
    """Of decoded frames, with `decode`. Their deadline is later by the longest that a frame waits
    by design: for the rest of its chunk, and for f - 1 frames where the decoder is delayed."""
    encoder: Breakdown | None
    decoder: Breakdown | None
    frames_per_s: float
    """Of all streams together."""
    real_time_factor: float | None
    """Seconds of each stream's video per second that encoder and decoder were busy."""
    busy_share: float
    """Of the time, inside encoder and decoder."""
    cpu_cores: float
    """CPU time over time: how many cores the process kept busy, idle threads that spin included."""
    start_up: StartUp
    """Medians over the turns."""
    start_up_total_ms: float
    dropped: int
    most_waiting: int
    waiting_at_end: int
    unfinished: int
    keeps_up: bool
    """Every latent and every picture in time, and no frame lost."""
    peak_rss_mb: float | None
    rss_growth: float | None
    """Of resident memory, from the first to the last tenth of a turn, as a share; the largest."""
    peak_device_mb: float | None
    package_w: float | None
    gpu_w: float | None
    module_w: float | None
    joules_per_frame: float | None
    """Of all that is metered: the module, or package and GPU together."""
    cpu_mhz: float | None
    gpu_mhz: float | None
    temperature_c: float | None
    """The highest."""
    other_cores: float | None
    """CPU that everything else on the machine used meanwhile, as a number of cores."""
    stolen_cores: float | None
    """That the hypervisor gave to other machines."""
