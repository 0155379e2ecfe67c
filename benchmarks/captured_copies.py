"""What a call of an engine costs the host where its copies are inside the CUDA graph.

    python benchmarks/captured_copies.py BUNDLE result.json --backend tensorrt --precision fp16

A call of the runtime copies frames up, launches a CUDA graph, copies tokens down, and marks the
stream in between, so that its times are known. Here the copies are recorded with the engine's work,
and a call is one launch. Both ways run the same encoder, on the same memory, in turn; tokens must
be equal. Exits 1 where they differ.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import UsageError, VidTokEdgeError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.cuda import Graph
from vidtok_edge.runtime.backends.engines.step import EngineStep, open_engine
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.graphs import Placement

CHECKED = 6
"""Calls whose tokens are compared."""
ROUNDS = 10

Run = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedCopies:
    """Wall times of a call, medians of the rounds, from filled inputs to tokens on the host."""

    backend: str
    precision: str
    equal: bool
    apart_ms: float
    """As the runtime does it."""
    inside_ms: float
    gained_us: float
    """Median over the rounds of the difference; above 0, copies inside the graph are faster."""
    least_gained_us: float
    most_gained_us: float
    rounds: int


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--backend", default="tensorrt", show_default=True)
@click.option("--precision", default="fp16", show_default=True)
@click.option("--calls", default=50, type=click.IntRange(1), show_default=True, help="Of a turn.")
def main(bundle: Path, out: Path, backend: str, precision: str, calls: int) -> None:
    try:
        loaded = Bundle.load(bundle)
        graph = loaded.manifest.graph("encoder", precision, Placement.TENSORRT)
        with open_engine(loaded.path, graph, Target.named(backend)) as step:
            result = measured(step, precision, calls)
        text = json.dumps({"captured_copies": asdict(result)}, indent=1)
        with write_beside(out, force=True) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except VidTokEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(text)
    sys.exit(0 if result.equal else 1)


def measured(step: EngineStep, precision: str, calls: int) -> CapturedCopies:
    """Whether both ways give the same tokens of a stream, and what `calls` of each take in turn.

    Raises:
        UsageError: its calls are no CUDA graphs, or it copies nothing.
    """
    with copies_inside(step) as inside:
        wanted, found = tokens_of(step, step.run), tokens_of(step, inside)
        equal = all(map(np.array_equal, wanted, found)) and len({t.tobytes() for t in wanted}) > 1
        rounds = [(call_ms(step.run, calls), call_ms(inside, calls)) for _ in range(ROUNDS)]
    gained = [1e3 * (apart - within) for apart, within in rounds]
    return CapturedCopies(
        backend=step.info.active,
        precision=precision,
        equal=equal,
        apart_ms=round(statistics.median(apart for apart, _ in rounds), 4),
        inside_ms=round(statistics.median(within for _, within in rounds), 4),
        gained_us=round(statistics.median(gained), 1),
        least_gained_us=round(min(gained), 1),
        most_gained_us=round(max(gained), 1),
        rounds=ROUNDS,
    )


@contextmanager
def copies_inside(step: EngineStep) -> Iterator[Run]:
    """`step.run` with its copies in the CUDA graph, and without marks."""
    if not step.captured:
        raise UsageError(f"There is nothing to compare: {step.info.fell_back}.")
    if not step._uploads:
        raise UsageError("There is nothing to compare: the host shares the engine's memory.")
    cuda, stream = step._cuda, step._stream

    def put(turn: int) -> None:
        for spec, at in step._uploads:
            cuda.copy("up", at.device, at.host, spec.nbytes, stream)
        step._enqueue(turn)
        for spec, at in step._downloads:
            cuda.copy("down", at.host, at.device, spec.nbytes, stream)

    graphs = list[Graph]()

    def run() -> None:
        cuda.launch(graphs[step._turn], stream)
        cuda.wait(stream)
        step._turn = 1 - step._turn

    try:
        for turn in (0, 1):
            graphs.append(cuda.captured(stream, partial(put, turn)))
        yield run
    finally:
        for graph in graphs:
            cuda.free_graph(graph)


def tokens_of(step: EngineStep, run: Run) -> Sequence[NDArray[np.int32]]:
    """Of a stream of random frames."""
    random, found = np.random.default_rng(0), []
    for call in range(CHECKED):
        frames = step.inputs["frames"]
        frames[...] = random.integers(0, 256, frames.shape, np.uint8)
        step.inputs["start"][...] = call == 0
        run()
        found.append(step.outputs["tokens"].copy())
    return found


def call_ms(run: Run, calls: int) -> float:
    """The median of `calls`."""
    times = []
    for _ in range(calls):
        first = time.perf_counter()
        run()
        times.append(time.perf_counter() - first)
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    main()
