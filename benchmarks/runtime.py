"""The edge runtime against its numbers: a paced camera, overhead, recording, memory, start, slots.

    python benchmarks/runtime.py --minutes 10 --json result.json     # about 25 minutes
    python benchmarks/runtime.py --minutes 0.1 --rounds 2            # does it run?

Bundles of the embedded model at 256x256, with one and with four slots, are exported first, which
takes minutes; `--bundle` and `--batch` name ones that are there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager as ContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from report import begin
from rounds import cpu_per_frame, measured, overhead_share, spread_of
from start import start_target
from targets import Target, at_most, percent_text

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bench.figures import Figures
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.figures import figures_of
from vidtok_edge.runtime.bench.measuring.frames import moving_frames
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.ratios import Spread, paired
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.settings import Pace, Settings
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.sources import ArraySource, Captures
from vidtok_edge.runtime.streaming.records import Record

FPS = 30.0
SLOWER = (28.0, 25.0, 24.0, 20.0, 18.0, 15.0, 12.0, 10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
TRIAL_SHARE = 0.1  # of the time: a rate that does not hold for so long is not tried for longer
WARMUP_S = 5.0
OVERHEAD, RECORDING, MEMORY, SLOTS = 0.03, 0.02, 0.01, 1.0
RECORDED_CHUNKS = 40
FEWEST_READINGS = 10  # that say anything of memory over time


HOW = "`benchmarks/runtime.py`, every turn a process; paired, median (min..max)"


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="With one slot.")
@click.option("--batch", type=click.Path(path_type=Path), help="The same with four slots.")
@click.option("--precision", default="int8", show_default=True)
@click.option("--minutes", default=10.0, show_default=True, help="Of the paced run.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="Of the paired comparisons.",
)
@click.option("--size", default=256, show_default=True, help="Of the bundles that are exported.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    bundle: Path | None,
    batch: Path | None,
    precision: str,
    minutes: float,
    rounds: int,
    size: int,
    json_file: Path | None,
) -> None:
    """Measure, judge, print."""
    report = begin("runtime", f"{HOW}; {precision}, {rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="runtime_bench_") as scratch:
        single = bundle or exported(Path(scratch) / "single", 1, precision, size)
        four = batch or exported(Path(scratch) / "batch", 4, precision, size)
        candidate = Candidate(str(single), "auto", precision)
        targets, turn = paced_targets(candidate, 60 * minutes)
        targets += [memory_target(turn), *overhead_targets(candidate, turn, rounds)]
        targets.append(recording_target(Bundle.load(single), precision, rounds))
        targets.append(start_target(report, single, precision))
        targets.append(slots_target(candidate, replace(candidate, bundle=str(four)), rounds))
    report.judge("runtime-targets", targets)
    report.show()
    report.write(json_file)


def exported(folder: Path, streams: int, precision: str, size: int) -> Path:
    """The embedded model, as a user gets it."""
    from vidtok_edge.export import ExportRequest, export_bundle
    from vidtok_edge.lowering.step import StepOptions

    click.echo(f"exporting {folder.name}: {streams} slot(s), {size}x{size}, {precision}", err=True)
    options = StepOptions(size, size, streams=streams)
    request = ExportRequest(
        variant="fsq",
        output=folder,
        checkpoint=None,
        options=options,
        precisions=(precision,),  # type: ignore[arg-type]
    )
    export_bundle(request)
    return folder


# --- a camera at its rate ---------------------------------------------------------------------


def paced_targets(candidate: Candidate, seconds: float) -> tuple[list[Target], Turn]:
    """At 30 frames a second for the whole time; else the highest rate that holds as long."""
    targets = []
    for fps in (FPS, *SLOWER):
        tried = TRIAL_SHARE * seconds
        entry, figures = paced(candidate, fps, tried)
        if figures.keeps_up:
            tried = seconds
            entry, figures = paced(candidate, fps, tried)
        if figures.keeps_up or fps == FPS:
            limit = "without a miss" if fps == FPS else "the highest rate that holds"
            targets.append(
                described(candidate, figures, f"{fps:g} frames/s for {tried:g} s, {limit}")
            )
        if figures.keeps_up:
            break
    else:
        targets.append(Target("the highest rate that holds", f"none from {FPS:g} on", False))
    return targets, entry.turns[0]


def paced(candidate: Candidate, fps: float, seconds: float) -> tuple[Entry, Figures]:
    settings = Settings(Pace(fps), seconds=seconds, warmup_s=min(WARMUP_S, seconds))
    [entry] = measured([candidate], settings, f"paced at {fps:g} for {seconds:g} s").entries
    return entry, figures_of(entry, settings)


def described(candidate: Candidate, figures: Figures, how: str) -> Target:
    latency = figures.latency
    shown = ", ".join(
        f"{name} {value:.1f}" for name, value in latency.percentiles().items() if value is not None
    )
    measured_text = (
        f"{latency.misses} of {latency.n} latents missed {latency.deadline_ms:.1f} ms (longest run "
        f"{latency.longest_run}), {figures.dropped} dropped, {figures.unfinished} given up; "
        f"ms: {shown}"
    )
    return Target(f"{candidate.precision} paced at {how}", measured_text, figures.keeps_up)


def memory_target(turn: Turn) -> Target:
    """How far apart the readings of the last nine tenths of the paced run lie."""
    known = [sample.rss_mb for sample in turn.samples if sample.rss_mb is not None]
    late = known[len(known) // 10 :]
    name = f"memory over the last 90 % of the paced run within {MEMORY:.0%}"
    if len(late) < FEWEST_READINGS:
        return Target(name, f"not known from {len(late)} readings", False)
    change = max(late) / min(late) - 1
    shown = f"{min(late):.1f}..{max(late):.1f} MB, {change:.2%}, {len(late)} readings"
    return Target(name, shown, change <= MEMORY)


# --- overhead ---------------------------------------------------------------------------------


def overhead_targets(candidate: Candidate, paced_turn: Turn, rounds: int) -> list[Target]:
    """What `push` costs beside the step inside it, as a share of the step: it pairs itself."""
    settings = Settings(Pace(None), seconds=3.0 * rounds, warmup_s=1.0, rounds=rounds)
    [entry] = measured([candidate], settings, "overhead: saturated").entries
    targets = []
    for how, turns in (("saturated", entry.turns), ("paced", [paced_turn])):
        share = spread_of(turns, overhead_share("encoder"))
        name = f"runtime overhead per chunk, {how}, at most {OVERHEAD:.0%} of the step"
        targets.append(at_most(name, share, OVERHEAD, percent_text(share)))
    return targets


# --- recording --------------------------------------------------------------------------------


class TimedWriter(RecordingWriter):
    """A writer that counts the time inside it."""

    spent_ns = 0

    def take(self, record: Record) -> None:
        start = time.perf_counter_ns()
        super().take(record)
        self.spent_ns += time.perf_counter_ns() - start

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        start = time.perf_counter_ns()
        super().tick(now_ns, busy_ns)
        self.spent_ns += time.perf_counter_ns() - start


def recording_target(bundle: Bundle, precision: str, rounds: int) -> Target:
    """What writing takes beside the steps of the same session, as a share: it pairs itself."""
    manifest = bundle.manifest
    size = (manifest.height, manifest.width)
    pictures = moving_frames(manifest.chunk_frames, *size)
    shares, sessions = [], []
    with tempfile.TemporaryDirectory() as folder, recording_bar(rounds) as numbers:
        for number in numbers:
            frames = pictures * RECORDED_CHUNKS
            path = Path(folder) / f"{number}.mcap"
            writer = TimedWriter(path, Tokenizer.of(bundle, precision), ["arrays"])
            source = partial(ArraySource, frames, size)
            with (
                writer,
                bundle.encoder("auto", precision=precision) as encoder,
                Captures([source], policy="block", capacity=manifest.chunk_frames * 2) as captures,
            ):
                done = Recorder(captures, encoder, [writer], ["arrays"]).run()
                steps_ns = encoder.step_times.total_ns
            shares.append(writer.spent_ns / steps_ns)
            sessions.append(done.seconds * 1e9 / steps_ns - 1)
    spread = Spread.of(shares)
    return at_most(
        f"recording adds at most {RECORDING:.0%} to the steps",
        spread,
        RECORDING,
        f"{percent_text(spread)} for writing; all of a session but its steps, with the queue "
        f"between two threads: {percent_text(Spread.of(sessions))}",
    )


def recording_bar(rounds: int) -> ContextManager[Iterable[int]]:
    return click.progressbar(range(rounds), label="recording", file=sys.stderr)


# --- slots ------------------------------------------------------------------------------------


def slots_target(single: Candidate, batch: Candidate, rounds: int) -> Target:
    """Time of a frame in a batch of cameras, over its time where a camera is alone."""
    settings = Settings(Pace(None), seconds=3.0 * rounds, warmup_s=0.0, rounds=rounds, meters=False)
    alone, together = measured([single, batch], settings, "slots").entries
    spread = Spread.of(paired(together.turns, alone.turns, busy_per_frame))
    cpu = Spread.of(paired(together.turns, alone.turns, cpu_per_frame))
    slots = together.manifest.streams
    return at_most(
        f"{slots} slots in one batch cost no more than {slots} single streams",
        spread,
        SLOTS,
        f"{ratio_text(spread)} in time of a frame; CPU time {ratio_text(cpu)}",
    )


def busy_per_frame(turn: Turn) -> float | None:
    return turn.measured.busy_ns / turn.measured.frames if turn.measured.frames else None


def ratio_text(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}..{spread.high:.2f})"


if __name__ == "__main__":
    main()
