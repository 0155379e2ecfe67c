"""What threads of ONNX Runtime cost: latency and CPU time of paced encoding, by count and spinning.

    python benchmarks/threads.py                 # on a quiet machine
    python benchmarks/threads.py --loaded        # beside a process that keeps a core busy

Between two calls and between two operators, threads that spin stay ready; others sleep. Frames come
at a camera's rate; a turn is a process. The first row is the runtime's default.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from cases import CASES
from precision import write_precisions
from report import begin
from rounds import cpu_per_frame, measured, spread_of

from vidtok_edge.runtime import Bundle, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backends import onnxruntime
from vidtok_edge.runtime.bench.measuring.candidate import OPEN_BUNDLE, Candidate, open_bundle
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.settings import Pace, Settings
from vidtok_edge.runtime.manifest.graphs import Precision

CASE = "embedded-256"
BUSY = "while True: pass"
WAYS = (
    ("default", None, OPEN_BUNDLE),
    ("1 thread", 1, OPEN_BUNDLE),
    ("every core, sleeping", None, "threads:open_sleeping"),
    ("every core, spinning", None, "threads:open_spinning"),
)


@click.command(help=__doc__)
@click.option("--fps", default=20.0, show_default=True)
@click.option("--precision", default="int8", show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="Of each way in each round.")
@click.option("--runs", default=3, show_default=True, help="Rounds.")
@click.option("--loaded", is_flag=True, help="Beside a process that keeps one core busy.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    fps: float,
    precision: Precision,
    seconds: float,
    runs: int,
    loaded: bool,
    json_path: Path | None,
) -> None:
    load = ", beside a process that keeps one core busy" if loaded else ""
    report = begin("threads", f"`python benchmarks/threads.py`, {fps:g} frames/s{load}")
    name = "threads-loaded" if loaded else "threads"
    settings = Settings(
        Pace(fps), seconds=seconds * runs, warmup_s=1.0, rounds=runs, decode=False, meters=False
    )
    with tempfile.TemporaryDirectory(prefix="threads_") as scratch, _load(loaded):
        bundle = write_precisions(CASES[CASE], Path(scratch) / "bundle", frames=9).path
        candidates = [
            Candidate(str(bundle), "cpu", precision, threads, opener) for _, threads, opener in WAYS
        ]
        entries = measured(candidates, settings, name).entries
    report.tables[name] = [
        {
            "way": way,
            "p50_ms": spread_of(entry.turns, lambda turn: latency_ms(turn, 0.5)).median,
            "p99_ms": spread_of(entry.turns, lambda turn: latency_ms(turn, 0.99)).median,
            "cpu_ms": spread_of(entry.turns, cpu_per_frame).median / 1e6,
            "frames": spread_of(entry.turns, lambda turn: float(turn.measured.frames)).median,
        }
        for (way, _, _), entry in zip(WAYS, entries, strict=True)
    ]
    report.show()
    report.write(json_path)


def latency_ms(turn: Turn, share: float) -> float | None:
    """Of all sources together; from the arrival of a latent's last frame to its tokens."""
    values = sorted(ns for source in turn.measured.latency_ns for ns in source)
    return values[int(share * (len(values) - 1))] / 1e6 if values else None


def open_sleeping(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of threads that sleep as soon as they have nothing to do."""
    return _open(bundle, candidate, decode, {"session.intra_op.allow_spinning": "0"})


def open_spinning(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of threads that spin a while: ONNX Runtime's default."""
    return _open(bundle, candidate, decode, {"session.intra_op.allow_spinning": "1"})


def _open(
    bundle: Bundle, candidate: Candidate, decode: bool, entries: dict[str, str]
) -> tuple[StreamEncoder, StreamDecoder | None]:
    onnxruntime.CPU_ENTRIES.update(entries)
    return open_bundle(bundle, candidate, decode)


@contextmanager
def _load(busy: bool) -> Iterator[None]:
    if not busy:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    main()
