"""The figures of a candidate over all of its turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from vidtok_edge.runtime.bench.measuring.latency import Latency
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.runs import Calls
from vidtok_edge.runtime.bench.measuring.turn import Settings, StartUp, Turn
from vidtok_edge.runtime.bench.meters.sampling import Sample, metered_w
from vidtok_edge.runtime.streaming.framing import Framing

__all__ = ["Breakdown", "Figures", "rss_growth"]


@dataclass(frozen=True, slots=True)
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

    @classmethod
    def of(cls, parts: Sequence[Calls]) -> Breakdown | None:
        """Of the calls of several turns; None where there was none."""
        rows = [
            row
            for p in parts
            for row in zip(p.upload_ns, p.compute_ns, p.download_ns, p.overhead_ns, strict=True)
        ]
        if not rows:
            return None
        columns = list(zip(*rows, strict=True))
        upload, compute, download, overhead = (median(column) / 1e6 for column in columns)
        shares = [row[3] / max(1, sum(row[:3])) for row in rows]
        return cls(
            len(rows),
            upload if any(columns[0]) else None,
            compute,
            download if any(columns[2]) else None,
            overhead,
            median(shares),
        )

    @property
    def total_ms(self) -> float:
        """All four."""
        return (self.upload_ms or 0) + self.compute_ms + (self.download_ms or 0) + self.overhead_ms


@dataclass(frozen=True, slots=True)
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
    dropped: int
    most_waiting: int
    waiting_at_end: int
    unfinished: int
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

    @property
    def keeps_up(self) -> bool:
        """Every latent and every picture in time, and no frame lost."""
        parts = [self.latency, *([self.pictures] if self.pictures is not None else [])]
        in_time = all(part.n and not part.misses for part in parts)
        return in_time and not self.dropped and not self.unfinished

    @classmethod
    def of(cls, entry: Entry, settings: Settings) -> Figures:
        """All turns of `entry` together."""
        turns, manifest = entry.turns, entry.manifest
        measured = [turn.measured for turn in turns]
        period_ms = 1e3 * manifest.chunk_frames / settings.fps
        deadline_ms = period_ms if settings.deadline_ms is None else settings.deadline_ms
        frames, elapsed_s = sum(m.frames for m in measured), _sum_s(m.elapsed_ns for m in measured)
        busy_s = _sum_s(m.busy_ns for m in measured)
        framing = Framing.of(manifest.model)
        waits = manifest.chunk_frames - 1 + (framing.time_factor - 1 if framing.delayed else 0)
        waits_ms = 1e3 * waits / settings.fps
        pictures = [stream for m in measured for stream in m.picture_latency_ns]
        samples = [sample for turn in turns for sample in turn.samples]
        package_w, gpu_w, module_w = (
            _over(fmean, samples, part)
            for part in (lambda s: s.package_w, lambda s: s.gpu_w, lambda s: s.module_w)
        )
        watts = metered_w(package_w, gpu_w, module_w)
        return cls(
            turns[0].backend,
            turns[0].fell_back,
            Latency.of([stream for m in measured for stream in m.latency_ns], deadline_ms),
            Latency.of(pictures, deadline_ms + waits_ms) if settings.decode else None,
            Breakdown.of([m.encoder for m in measured]),
            Breakdown.of([m.decoder for m in measured]),
            frames / elapsed_s,
            frames / manifest.streams / settings.fps / busy_s if busy_s else None,
            busy_s / elapsed_s,
            _sum_s(m.cpu_ns for m in measured) / elapsed_s,
            _start_up(turns),
            sum(m.dropped for m in measured),
            max(m.most_waiting for m in measured),
            max(m.waiting_at_end for m in measured),
            sum(m.unfinished for m in measured),
            _most(m.peak_rss_mb for m in measured),
            _most(rss_growth(turn.samples) for turn in turns),
            _most(turn.peak_device_mb for turn in turns),
            package_w,
            gpu_w,
            module_w,
            watts * elapsed_s / frames if watts is not None and frames else None,
            _over(fmean, samples, lambda s: s.cpu_mhz),
            _over(fmean, samples, lambda s: s.gpu_mhz),
            _over(max, samples, lambda s: s.temperature_c),
            _over(fmean, samples, lambda s: s.other_cores),
            _over(fmean, samples, lambda s: s.stolen_cores),
        )


def rss_growth(samples: Sequence[Sample]) -> float | None:
    """From the median of the first tenth to that of the last; None for fewer than ten samples."""
    known = [sample.rss_mb for sample in samples if sample.rss_mb is not None]
    if len(known) < 10:
        return None
    part = len(known) // 10
    return median(known[-part:]) / median(known[:part]) - 1


def _start_up(turns: Sequence[Turn]) -> StartUp:
    def middle(part: Callable[[StartUp], float]) -> float:
        return median(part(turn.start_up) for turn in turns)

    return StartUp(
        middle(lambda s: s.process_ms),
        middle(lambda s: s.load_ms),
        middle(lambda s: s.open_ms),
        middle(lambda s: s.first_token_ms),
    )


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _over(
    reduce: Callable[[list[float]], float],
    samples: Sequence[Sample],
    field: Callable[[Sample], float | None],
) -> float | None:
    known = [value for sample in samples if (value := field(sample)) is not None]
    return reduce(known) if known else None


def _sum_s(values: Iterable[int]) -> float:
    return sum(values) / 1e9
