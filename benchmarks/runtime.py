"""The edge runtime against its numbers: a paced camera, overhead, recording, memory, slots.

    python benchmarks/runtime.py --minutes 10 --json result.json     # about 25 minutes
    python benchmarks/runtime.py --minutes 0.1 --rounds 2            # does it run?

Bundles of the embedded model at 256x256, with one and with four slots, are exported first, which
takes minutes; `--bundle` and `--batch` name ones that are there.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray
from paired import SETTLE_S, Sample, Spread, measure, progress, ratios

from vidtok_edge.runtime import Bundle, StreamEncoder
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.figures import Breakdown, Figures
from vidtok_edge.runtime.bench.measuring.frames import for_graph, moving_frames
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.runs import Pace
from vidtok_edge.runtime.bench.measuring.turn import Settings, Turn
from vidtok_edge.runtime.bench.measuring.worker import run_in_process
from vidtok_edge.runtime.bench.meters.machine import describe_machine
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


@dataclass(frozen=True)
class Result:
    """A number to reach and what was measured."""

    name: str
    limit: str
    measured: str
    reached: bool
    doubt: str = ""

    def __str__(self) -> str:
        word = "reached" if self.reached else "fell short"
        return f"{self.name}: {self.measured}; asked for: {self.limit}; {word}" + (
            f" ({self.doubt})" if self.doubt else ""
        )


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
    machine = describe_machine()
    for name, value in machine.rows():
        click.echo(f"{name}: {value}")
    with tempfile.TemporaryDirectory(prefix="runtime_bench_") as scratch:
        single = bundle or exported(Path(scratch) / "single", 1, precision, size)
        four = batch or exported(Path(scratch) / "batch", 4, precision, size)
        candidate = Candidate(str(single), "auto", precision)
        results, turn = paced_results(candidate, 60 * minutes)
        results += [memory_result(turn), *overhead_results(candidate, turn, rounds)]
        results.append(recording_result(Bundle.load(single), precision, rounds))
        results.append(slots_result(Bundle.load(single), Bundle.load(four), precision, rounds))
    click.echo()
    for result in results:
        click.echo(str(result))
    if json_file is not None:
        document = {"machine": asdict(machine), "results": [asdict(r) for r in results]}
        json_file.write_text(json.dumps(document, indent=1) + "\n")


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


def paced_results(candidate: Candidate, seconds: float) -> tuple[list[Result], Turn]:
    """At 30 frames a second for the whole time; else the highest rate that holds as long."""
    results = []
    for fps in (FPS, *SLOWER):
        tried = TRIAL_SHARE * seconds
        turn, kept = paced(candidate, fps, tried)
        if kept:
            tried = seconds
            turn, kept = paced(candidate, fps, tried)
        if kept or fps == FPS:
            limit = "no miss, no drop" if fps == FPS else "the highest that holds"
            results.append(described(candidate, turn, fps, tried, limit, kept))
        if kept:
            break
    else:
        results.append(Result("the highest rate that holds", "any", f"none from {FPS:g} on", False))
    return results, turn


def paced(candidate: Candidate, fps: float, seconds: float) -> tuple[Turn, bool]:
    settings = Settings(Pace(fps), seconds=seconds, warmup_s=min(WARMUP_S, seconds))
    turn = turn_with_bar(candidate, settings, f"paced at {fps:g} for {seconds:g} s")
    return turn, figures_of(candidate, turn, settings).keeps_up


def described(
    candidate: Candidate, turn: Turn, fps: float, seconds: float, limit: str, kept: bool
) -> Result:
    figures = figures_of(candidate, turn, Settings(Pace(fps), seconds=seconds))
    latency = figures.latency
    shown = ", ".join(
        f"{name} {value:.1f}" for name, value in latency.percentiles().items() if value is not None
    )
    measured = (
        f"{latency.misses} of {latency.n} latents missed {latency.deadline_ms:.1f} ms (longest run "
        f"{latency.longest_run}), {figures.dropped} dropped, {figures.unfinished} given up; "
        f"ms: {shown}"
    )
    name = f"{candidate.precision} paced at {fps:g} frames/s for {seconds:g} s"
    return Result(name, limit, measured, kept)


def figures_of(candidate: Candidate, turn: Turn, settings: Settings) -> Figures:
    manifest = Bundle.load(candidate.bundle).manifest
    return Figures.of(Entry(candidate, manifest, [turn]), settings)


def turn_with_bar(candidate: Candidate, settings: Settings, label: str) -> Turn:
    with progress(range(1000), label) as bar:
        return run_in_process(
            candidate, settings, lambda share: bar.update(round(1000 * share) - bar.pos)
        )


def memory_result(turn: Turn) -> Result:
    """How far apart the readings of the last nine tenths of the paced run lie."""
    known = [sample.rss_mb for sample in turn.samples if sample.rss_mb is not None]
    late = known[len(known) // 10 :]
    name = "memory over the last 90 % of the paced run, most over least"
    if len(late) < FEWEST_READINGS:
        return Result(name, f"within {MEMORY:.0%}", f"not known from {len(late)} readings", False)
    change = max(late) / min(late) - 1
    measured = f"{min(late):.1f}..{max(late):.1f} MB, {change:.2%}, {len(late)} readings"
    return Result(name, f"within {MEMORY:.0%}", measured, change <= MEMORY)


# --- overhead ---------------------------------------------------------------------------------


def overhead_results(candidate: Candidate, paced_turn: Turn, rounds: int) -> list[Result]:
    """What `push` costs beside the step inside it, as a share of the step: it pairs itself."""
    settings = Settings(Pace(None), seconds=3.0, warmup_s=1.0)
    shares = []
    with progress(range(rounds), "overhead: saturated") as numbers:
        for _ in numbers:
            part = Breakdown.of([run_in_process(candidate, settings).measured.encoder])
            shares += [] if part is None else [part.overhead_share]
    part = Breakdown.of([paced_turn.measured.encoder])
    if not shares or part is None:
        return [Result("runtime overhead per chunk", f"<= {OVERHEAD:.0%}", "no call ended", False)]
    saturated = Spread.of(shares)
    return [
        Result(
            "runtime overhead per chunk, saturated, of the step",
            f"<= {OVERHEAD:.0%}",
            saturated.percent_text(),
            saturated.median <= OVERHEAD,
            "spread crosses the limit" if saturated.low < OVERHEAD < saturated.high else "",
        ),
        Result(
            "runtime overhead per chunk, paced, of the step",
            f"<= {OVERHEAD:.0%}",
            f"{part.overhead_share:.2%}, {part.overhead_ms:.2f} of {part.compute_ms:.1f} ms",
            part.overhead_share <= OVERHEAD,
        ),
    ]


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


def recording_result(bundle: Bundle, precision: str, rounds: int) -> Result:
    """What writing takes beside the steps of the same session, as a share: it pairs itself."""
    manifest = bundle.manifest
    size = (manifest.height, manifest.width)
    pictures = moving_frames(manifest.chunk_frames, *size)
    shares, sessions = [], []
    with tempfile.TemporaryDirectory() as folder, progress(range(rounds), "recording") as numbers:
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
    return Result(
        "what recording adds to the steps",
        f"<= {RECORDING:.0%}",
        f"{spread.percent_text()} for writing; all of a session but its steps, with the queue "
        f"between two threads: {Spread.of(sessions).percent_text()}",
        spread.median <= RECORDING,
    )


# --- slots ------------------------------------------------------------------------------------


def slots_result(single: Bundle, four: Bundle, precision: str, rounds: int) -> Result:
    """A chunk of each of four cameras: one call of a batch, against a call of each of four."""
    streams, frames = four.manifest.streams, four.manifest.chunk_frames
    pictures = for_graph(four.manifest, moving_frames(frames, *sizes(four)))
    with ExitStack() as stack:
        alone = [
            stack.enter_context(single.encoder("auto", precision=precision)) for _ in range(streams)
        ]
        batch = stack.enter_context(four.encoder("auto", precision=precision))
        samples: tuple[list[Sample], list[Sample]] = ([], [])

        def push_batch() -> None:
            for picture in pictures:
                for slot in range(streams):
                    batch.push(picture, slot=slot)

        def push_alone() -> None:
            for picture in pictures:
                for encoder in alone:
                    encoder.push(picture)

        begin(alone, batch, pictures[0])
        for _ in range(3):
            push_batch()
            push_alone()
        calls = batch.calls
        with progress(range(rounds), "slots: a batch, and streams alone") as numbers:
            for number in numbers:
                order = [(push_batch, samples[0]), (push_alone, samples[1])]
                for push, into in order[:: 1 if number % 2 else -1]:
                    time.sleep(SETTLE_S)
                    into.append(measure(push))
        assert batch.calls == calls + rounds, "one call for all slots"
    ratio = ratios(*samples, "wall")
    cpu = ratios(*samples, "cpu")
    return Result(
        f"{streams} slots in one batch over {streams} single streams, wall time",
        f"<= {SLOTS:g}",
        f"{ratio.ratio_text()}; CPU time {cpu.ratio_text()}",
        ratio.median <= SLOTS,
        "inside the noise" if ratio.low <= SLOTS <= ratio.high else "",
    )


def begin(alone: Sequence[StreamEncoder], batch: StreamEncoder, picture: NDArray[Any]) -> None:
    """The first frame, which fills a causal model's first chunk alone; all slots in step then."""
    for encoder in alone:
        encoder.push(picture)
    for slot in range(batch.manifest.streams):
        batch.push(picture, slot=slot)


def sizes(bundle: Bundle) -> tuple[int, int]:
    return bundle.manifest.height, bundle.manifest.width


if __name__ == "__main__":
    main()
