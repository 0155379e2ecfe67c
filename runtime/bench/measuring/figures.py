"""The figures of a candidate over all of its turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median

from vidtok_edge.runtime.bench.figures import Breakdown, Figures, StartUp
from vidtok_edge.runtime.bench.latency import Latency
from vidtok_edge.runtime.bench.measuring.latency import latency_of
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.runs import Calls
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.sample import Sample, metered_w
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.streaming.framing import Framing

__all__ = ["breakdown_of", "figures_of", "rss_growth"]


def breakdown_of(parts: Sequence[Calls]) -> Breakdown | None:
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
    return Breakdown(
        calls=len(rows),
        upload_ms=upload if any(columns[0]) else None,
        compute_ms=compute,
        download_ms=download if any(columns[2]) else None,
        overhead_ms=overhead,
        overhead_share=median(row[3] / max(1, sum(row[:3])) for row in rows),
    )


def figures_of(entry: Entry, settings: Settings) -> Figures:
    """All turns of `entry` together."""
    turns, manifest = entry.turns, entry.manifest
    measured = [turn.measured for turn in turns]
    frames, elapsed_s = sum(m.frames for m in measured), _sum_s(m.elapsed_ns for m in measured)
    busy_s = _sum_s(m.busy_ns for m in measured)
    latency, pictures = _latencies(entry, settings)
    parts = [latency, *([pictures] if pictures is not None else [])]
    dropped, unfinished = sum(m.dropped for m in measured), sum(m.unfinished for m in measured)
    in_time = all(part.n and not part.misses for part in parts)
    samples = [sample for turn in turns for sample in turn.samples]
    package_w, gpu_w, module_w = (
        _over(fmean, samples, part)
        for part in (lambda s: s.package_w, lambda s: s.gpu_w, lambda s: s.module_w)
    )
    watts, start_up = metered_w(package_w, gpu_w, module_w), _start_up(turns)
    return Figures(
        backend=turns[0].backend,
        fell_back=turns[0].fell_back,
        latency=latency,
        pictures=pictures,
        encoder=breakdown_of([m.encoder for m in measured]),
        decoder=breakdown_of([m.decoder for m in measured]),
        frames_per_s=frames / elapsed_s,
        real_time_factor=frames / manifest.streams / settings.fps / busy_s if busy_s else None,
        busy_share=busy_s / elapsed_s,
        cpu_cores=_sum_s(m.cpu_ns for m in measured) / elapsed_s,
        start_up=start_up,
        start_up_total_ms=start_up.total_ms,
        dropped=dropped,
        most_waiting=max(m.most_waiting for m in measured),
        waiting_at_end=max(m.waiting_at_end for m in measured),
        unfinished=unfinished,
        keeps_up=in_time and not dropped and not unfinished,
        peak_rss_mb=_most(m.peak_rss_mb for m in measured),
        rss_growth=_most(rss_growth(turn.samples) for turn in turns),
        peak_device_mb=_most(turn.peak_device_mb for turn in turns),
        package_w=package_w,
        gpu_w=gpu_w,
        module_w=module_w,
        joules_per_frame=watts * elapsed_s / frames if watts is not None and frames else None,
        cpu_mhz=_over(fmean, samples, lambda s: s.cpu_mhz),
        gpu_mhz=_over(fmean, samples, lambda s: s.gpu_mhz),
        temperature_c=_over(max, samples, lambda s: s.temperature_c),
        other_cores=_over(fmean, samples, lambda s: s.other_cores),
        stolen_cores=_over(fmean, samples, lambda s: s.stolen_cores),
    )


def _latencies(entry: Entry, settings: Settings) -> tuple[Latency, Latency | None]:
    """Of latents, and of decoded frames where there are any."""
    manifest, measured = entry.manifest, [turn.measured for turn in entry.turns]
    period_ms = 1e3 * manifest.chunk_frames / settings.fps
    deadline_ms = period_ms if settings.deadline_ms is None else settings.deadline_ms
    latency = latency_of([stream for m in measured for stream in m.latency_ns], deadline_ms)
    if not settings.decode:
        return latency, None
    framing = Framing.of(manifest.model)
    waits = manifest.chunk_frames - 1 + (framing.time_factor - 1 if framing.delayed else 0)
    pictures = [stream for m in measured for stream in m.picture_latency_ns]
    return latency, latency_of(pictures, deadline_ms + 1e3 * waits / settings.fps)


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
        process_ms=middle(lambda s: s.process_ms),
        load_ms=middle(lambda s: s.load_ms),
        open_ms=middle(lambda s: s.open_ms),
        first_token_ms=middle(lambda s: s.first_token_ms),
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
