"""The benchmark as tables of text; the terminal and the page show the same."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.bench.ceilings import CallWork, Ceilings
from vidtok_edge.runtime.bench.document import Document
from vidtok_edge.runtime.bench.figures import Breakdown, Figures
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.bench.showing.knee import Knee, knees_of

__all__ = ["Table", "disturbance", "not_metered", "settings_rows", "tables_of"]

QUIET_CORES = 0.1
"""What the rest of an idle machine uses at most."""


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a note below it, and rows, the first of which is the header."""

    title: str
    note: str
    rows: tuple[tuple[str, ...], ...]


def tables_of(document: Document) -> list[Table]:
    """All tables, the most asked for first."""
    settings = document.settings
    named = [(one.name, one.figures) for one in document.candidates]
    tables = [_candidates(document), _latency(named, document), _speed(document)]
    if knees := knees_of(document):
        tables.append(_knees(knees, settings))
    if len(document.candidates) > 1:
        tables.append(_ratios(document))
    tables += [_breakdown(document), _start_up(named), _resources(named)]
    return tables


def disturbance(document: Document) -> str | None:
    """What is to be said where something else was running; None where nothing was, or not told."""
    used = [
        (one.figures.other_cores or 0.0) + (one.figures.stolen_cores or 0.0)
        for one in document.candidates
    ]
    if max(used) <= QUIET_CORES:
        return None
    cores = f"{min(used):.2f}" if len(used) == 1 else f"{min(used):.2f} to {max(used):.2f}"
    return (
        f"This machine was busy with other work meanwhile ({cores} cores on average): the figures "
        "are of what was left. Measure again when it is quiet."
    )


def not_metered(document: Document) -> str | None:
    """What was not read for want of a package; None where nothing was."""
    turns = [turn for one in document.candidates for turn in one.turns]
    missing = dict.fromkeys(what for turn in turns for what in turn.meters_missing)
    return f"Not metered: {'; '.join(missing)}." if missing else None


def settings_rows(settings: Settings) -> list[tuple[str, str]]:
    """How it was measured, for a table."""
    pace = settings.pace
    kind = "saturated: frames as fast as they are taken"
    if pace.fps is not None:
        policy = pace.policy
        full = "" if policy == "block" else f", {pace.capacity} wait at most, then {policy}"
        kind = f"paced: cameras at {pace.fps:g} frames/s{full or ', every frame waits its turn'}"
    deadline = "the period of a chunk"
    if settings.deadline_ms is not None:
        deadline = f"{settings.deadline_ms:g} ms"
    return [
        ("kind", kind),
        ("measured", f"{settings.seconds:g} s each, in {settings.rounds} round(s)"),
        ("warm-up", f"{settings.warmup_s:g} s before each round, in no figure but start-up"),
        ("work", "encode and decode" if settings.decode else "encode"),
        ("deadline", deadline),
        ("frames", settings.clip or "a synthetic moving picture"),
    ]


def _candidates(document: Document) -> Table:
    rows: list[tuple[str, ...]] = [
        _header(
            "candidate | runs on | variant | size | streams | latents a call | graphs"
            " | form | weights | exported by"
        )
    ]
    for one in document.candidates:
        figures, graph = one.figures, one.graphs[0]
        rows.append(
            (
                one.name,
                one.runs_on + (f" (fell back: {figures.fell_back})" if figures.fell_back else ""),
                one.variant,
                f"{one.height}x{one.width}",
                str(one.streams),
                str(one.chunk),
                graph.name.removeprefix("encoder."),
                graph.form,
                f"{one.weights.source} {one.weights.sha256[:12]}",
                one.toolkit + ("" if one.verified else ", not verified"),
            )
        )
    note = (
        "From each bundle's manifest, and what really ran. Weights: where they came from, and the "
        "start of their SHA-256."
    )
    return Table("What was measured", note, tuple(rows))


def _latency(named: list[tuple[str, Figures]], document: Document) -> Table:
    settings = document.settings
    rows: list[tuple[str, ...]] = [
        _header(
            "candidate | n | p50 | p90 | p95 | p99 | p99.9 | max | jitter | deadline"
            " | missed | longest run"
        )
    ]
    for name, figures in named:
        latency = figures.latency
        rows.append(
            (
                name,
                str(latency.n),
                *(_ms(v) for v in latency.percentiles().values()),
                _ms(latency.jitter_ms),
                _ms(latency.deadline_ms),
                str(latency.misses),
                str(latency.longest_run),
            )
        )
        if figures.pictures is not None:
            pictures = figures.pictures
            rows.append(
                (
                    f"{name}, decoded frames",
                    str(pictures.n),
                    *(_ms(v) for v in pictures.percentiles().values()),
                    _ms(pictures.jitter_ms),
                    _ms(pictures.deadline_ms),
                    str(pictures.misses),
                    str(pictures.longest_run),
                )
            )
    needed = ", ".join(f"{name}: {n}" for name, n in document.method.samples_needed.items())
    since = "its last frame was released by the camera"
    if settings.pace.fps is None:
        since = "its last frame was handed over"
    note = (
        f"In ms, from when {since} to its tokens in host memory. A percentile is shown from "
        f"enough samples on ({needed})."
    )
    if settings.decode:
        note += (
            " Decoded frames: from each frame's own release to its pixels; their deadline is "
            "later by what a frame waits by design."
        )
    return Table("Latency of a latent", note, tuple(rows))


def _speed(document: Document) -> Table:
    settings = document.settings
    rows = [
        _header(
            "candidate | frames/s | tokens equal | pictures dB | real-time factor | busy"
            " | CPU cores | dropped | most waiting | waiting at end | given up | keeps up"
        )
    ]
    for one in document.candidates:
        f, proven = one.figures, one.proven
        equal = None if proven is None else proven.tokens_equal
        factor = "-" if f.real_time_factor is None else f"{f.real_time_factor:.2f}"
        verdict = "-" if settings.pace.fps is None else ("yes" if f.keeps_up else "no")
        rows.append(
            (
                one.name,
                f"{f.frames_per_s:.1f}",
                "-" if equal is None else f"{equal:.3%}",
                _plain(None if proven is None else proven.pictures_db, 2),
                factor,
                f"{f.busy_share:.0%}",
                f"{f.cpu_cores:.2f}",
                str(f.dropped),
                str(f.most_waiting),
                str(f.waiting_at_end),
                str(f.unfinished),
                verdict,
            )
        )
    note = (
        "Frames of all streams. Tokens equal, pictures dB: to those of float32, by the proof that "
        "it ran under; -: not measured. Real-time factor: seconds of each stream's video at "
        f"{settings.fps:g} frames/s per busy second; below 1 they cannot be followed."
    )
    return Table("Speed and backlog", note, tuple(rows))


def _knees(knees: list[Knee], settings: Settings) -> Table:
    rows = [_header("model and backend | cameras that kept up | that did not | most cameras")]
    for knee in knees:
        numbers = [", ".join(map(str, each)) or "-" for each in (knee.kept_up, knee.missed)]
        rows.append((knee.name, *numbers, "none" if knee.most is None else str(knee.most)))
    note = (
        f"Cameras of {settings.fps:g} frames/s in one batch, of the numbers that were measured. "
        "Most cameras: below the first number that missed a deadline or lost a frame."
    )
    return Table("Cameras", note, tuple(rows))


def _ratios(document: Document) -> Table:
    rows = [("candidate", "metric", "times as fast", "spread", "rounds faster", "verdict")]
    rows += [
        (
            r.candidate,
            r.metric,
            f"{r.median:.3g}",
            f"{r.low:.3g}..{r.high:.3g}",
            f"{r.faster} of {r.rounds}",
            r.verdict,
        )
        for r in document.ratios
    ]
    first, method = document.candidates[0].name, document.method
    note = (
        f"Median and extremes of the rounds. Verdict: a sign test over the rounds, its level "
        f"of {method.level:.0%} divided by {method.comparisons} comparisons."
    )
    return Table(f"Against {first}", note, tuple(rows))


def _breakdown(document: Document) -> Table:
    candidates = document.candidates
    counted = any(one.work for one in candidates)
    rows = [
        _header(
            "candidate | step | calls | host to device | device | device to host"
            " | runtime overhead | overhead / step"
            + (" | Gop | MB | of the roofline" if counted else "")
        )
    ]
    for one in candidates:
        works = {str(work.kind): work for work in one.work}
        for step, part in (("encoder", one.figures.encoder), ("decoder", one.figures.decoder)):
            if isinstance(part, Breakdown):
                times = (part.upload_ms, part.compute_ms, part.download_ms, part.overhead_ms)
                cells = [one.name, step, str(part.calls), *map(_ms, times)]
                cells.append(f"{part.overhead_share:.1%}")
                if counted:
                    ceilings = document.ceilings_of(part)
                    cells += _work(works.get(step), ceilings, one.precision, part.compute_ms)
                rows.append(tuple(cells))
    note = (
        "Medians over the calls, in ms. -: nothing is copied (the CPU), or the copy is not told "
        "from the computing (downloads of ONNX Runtime's CUDA provider)."
    )
    if counted:
        note += (
            " Gop, MB: 10^9 operations (a multiply-add is two) and 10^6 bytes that a call takes at "
            "least, as `plan` counts them: not measured. Of the roofline: the least time for "
            f"these, by what {_told(document.ceilings)}, as a share of the time on the device."
        )
    return Table("Where the time of a call goes", note, tuple(rows))


def _told(ceilings: tuple[Ceilings, ...]) -> str:
    """What was measured of devices, for a sentence."""
    found = [
        f"{one.device} copied ({one.copy_gbs:.0f} GB/s) and multiplied (FP32 {one.fp32_tflops:.3g}"
        + ("" if one.fp16_tflops is None else f", FP16 {one.fp16_tflops:.3g}")
        + " Top/s)"
        for one in ceilings
    ]
    return " and ".join(found) + " in this run" if found else "nobody measured"


def _work(
    work: CallWork | None, ceilings: Ceilings | None, precision: str, taken_ms: float
) -> tuple[str, str, str]:
    if work is None:
        return "-", "-", "-"
    share = work.roofline_share(ceilings, precision, taken_ms)
    return (
        f"{work.operations / 1e9:.2f}",
        f"{work.moved_bytes / 1e6:.2f}",
        "-" if share is None else f"{share:.0%}",
    )


def _start_up(named: list[tuple[str, Figures]]) -> Table:
    rows: list[tuple[str, ...]] = [
        ("candidate", "process", "load bundle", "open", "first token", "together")
    ]
    for name, figures in named:
        s = figures.start_up
        parts = (s.process_ms, s.load_ms, s.open_ms, s.first_token_ms, figures.start_up_total_ms)
        rows.append((name, *(f"{value:.0f}" for value in parts)))
    note = "Medians in ms, files in the system's cache. First token: from the first frame on."
    return Table("Start-up", note, tuple(rows))


def _resources(named: list[tuple[str, Figures]]) -> Table:
    rows = [
        _header(
            "candidate | host peak MB | host growth | device peak MB | CPU package W"
            " | GPU W | module W | J/frame | CPU MHz | GPU MHz | hottest °C"
            " | others' cores | stolen cores"
        )
    ]
    for name, f in named:
        growth = "-" if f.rss_growth is None else f"{f.rss_growth:+.1%}"
        rows.append(
            (
                name,
                _plain(f.peak_rss_mb, 1),
                growth,
                _plain(f.peak_device_mb, 0),
                _plain(f.package_w, 1),
                _plain(f.gpu_w, 1),
                _plain(f.module_w, 1),
                _plain(f.joules_per_frame, 3),
                _plain(f.cpu_mhz, 0),
                _plain(f.gpu_mhz, 0),
                _plain(f.temperature_c, 1),
                _plain(f.other_cores, 2),
                _plain(f.stolen_cores, 2),
            )
        )
    told = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"-"}]
    note = (
        "Host: resident memory of the process, Python and the frames included; growth from the "
        "first to the last tenth of a turn. J/frame: of the module, or of package and GPU "
        "together. Others' cores: CPU that everything else here used meanwhile; stolen: that the "
        "hypervisor gave to other machines. What nothing here tells has no column."
    )
    return Table("The machine meanwhile", note, tuple(zip(*told, strict=True)))


def _header(names: str) -> tuple[str, ...]:
    return tuple(names.split(" | "))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _plain(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
