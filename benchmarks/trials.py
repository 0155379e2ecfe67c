"""What to try in TensorRT: one model's graphs in many forms, written, built and timed.

    python benchmarks/trials.py --list
    python benchmarks/trials.py FOLDER --seconds 240
    python benchmarks/trials.py FOLDER --trials embedded-encoder-matmul,embedded-encoder-conv3d@3
    python benchmarks/trials.py FOLDER --write-only --size 32    # does it run? needs no GPU

A trial is called MODEL-KIND-FORM[-PRECISION][@LEVEL[@AUX]]: embedded or full; encoder or decoder; a
form of the list; fp16, or the precision that is named; the builder's level of optimization (2), and
the most streams beside its main one. Graphs are held to no rule of the product. They are written in
processes side by side, and engines built as their graphs are there, by few builders that go on to
the next. At the time limit all of them are killed. Then each engine is timed, with nothing else on
the GPU: launches of its CUDA graph, and every layer, which OUTPUT's neighbour .layers.json has.
Engines of the embedded model stream a few calls first, against float32 on the CPU.

Needs the export extra but for its video library, TensorRT, and a PyTorch that sees the GPU. Exits 1
where a trial failed; one that was not reached in time did not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from engine_trials.forms import TRIAL_FORMS
from engine_trials.lowered import variant_of
from engine_trials.making import Made, make
from engine_trials.result import Result, rows_of, write_result
from engine_trials.tools import EngineBuilder, GraphWriter, engine_path, graph_path
from engine_trials.trial import DEFAULT_TRIALS, Trial, trials_of
from engine_trials.workers import Workers
from gpu_run.page import table_of

from vidtok_edge.errors import OutputExists, UsageError, VidTokEdgeError
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.files import require_writable

THREADS = 2
"""Of a process that writes a graph: a second one gains little."""
MOST_WRITERS = 4
"""Of full width a process takes 1.5 GB (the decoder, at 64x64)."""


@click.command(help=__doc__)
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--trials", "names", metavar="A,B,C", help="These.  [default: those of --list]")
@click.option("--seconds", default=240.0, show_default=True, type=click.FloatRange(min=1))
@click.option("--builders", default=2, show_default=True, type=click.IntRange(1))
@click.option("--writers", type=click.IntRange(1), help="[default: one for two cores, 4 at most]")
@click.option("--size", default=256, show_default=True, help="Height and width of frames.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--reuse", is_flag=True, help="Take the graphs that FOLDER has already.")
@click.option("--write-only", is_flag=True, help="Write graphs, and build nothing.")
@click.option("--list", "listing", is_flag=True, help="Say what can be tried, and why.")
def main(
    folder: Path | None,
    names: str | None,
    seconds: float,
    builders: int,
    writers: int | None,
    size: int,
    output: Path | None,
    reuse: bool,
    write_only: bool,
    listing: bool,
) -> None:
    try:
        chosen = list(DEFAULT_TRIALS) if names is None else trials_of(names)
        if listing:
            click.echo(_listed(chosen))
            return
        if folder is None:
            raise UsageError("Name a folder for graphs and engines, or ask for --list.")
        trt = None if write_only else _require_tensorrt()
        output = output or folder / "result.json"
        _prepare(folder, output, reuse)
        for trial in chosen:
            variant_of(trial.model).check_size(size, size)
        made = make(
            chosen,
            writers=_writers(folder, size, writers),
            builders=None if write_only else _builders(folder, builders),
            seconds=seconds,
            there=lambda trial: graph_path(folder, trial).exists(),
            say=click.echo,
        )
        results = _timed(trt, made, folder, size, output)
    except VidTokEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    rows = rows_of({"trials": [asdict(one) for one in results]})
    click.echo(f"\n{table_of(rows)}\n\n{output}")
    sys.exit(1 if any(one.status == "failed" for one in results) else 0)


def _listed(trials: Sequence[Trial]) -> str:
    lines = ["Trials, in this order:"]
    lines += [f"  {trial.name}" for trial in trials]
    lines.append("Forms:")
    lines += [f"  {name}: {form.hypothesis}" for name, form in TRIAL_FORMS.items()]
    return "\n".join(lines)


def _require_tensorrt() -> Any:
    """The library, where this machine can run it."""
    from vidtok_edge.lowering.torch_cuda import require_torch_cuda
    from vidtok_edge.runtime.backends.backend import Target
    from vidtok_edge.runtime.backends.engines.library import load_tensorrt

    require_torch_cuda()
    return load_tensorrt(Target.TENSORRT)


def _prepare(folder: Path, output: Path, reuse: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not reuse and any(folder.iterdir()):
        raise OutputExists(
            f"{folder} is not empty. Name another folder, or take its graphs, of whatever size and "
            "commit they are, with --reuse."
        )
    require_writable(output, force=True)  # not only after minutes


def _writers(folder: Path, size: int, count: int | None) -> Workers:
    if count is None:
        count = max(1, min(MOST_WRITERS, len(os.sched_getaffinity(0)) // THREADS))
    return Workers("writer", count, partial(GraphWriter, folder, size, THREADS), folder)


def _builders(folder: Path, count: int) -> Workers:
    return Workers("builder", count, partial(EngineBuilder, folder), folder)


def _result(made: Made) -> Result:
    graph, engine = made.graph, made.engine
    return Result(
        trial=made.trial.name,
        status=made.status,
        why=made.why,
        operators=None if graph is None else graph.operators,
        write_s=None if graph is None else graph.seconds,
        build_s=None if engine is None else engine.seconds,
        engine_mb=None if engine is None else engine.megabytes,
    )


def _timed(trt: Any, made: Sequence[Made], folder: Path, size: int, output: Path) -> list[Result]:
    """What became of each trial; `output` is whole after each engine that is timed."""
    results = [_result(one) for one in made]
    machine = asdict(replace(describe_machine(), load_average=None))
    write_result(output, results, machine=machine, size=size)
    for number, one in enumerate(made):
        if one.status == "built":
            results[number] = _with_times(trt, results[number], one.trial, folder, size)
            write_result(output, results, machine=machine, size=size)
    return results


def _with_times(trt: Any, built: Result, trial: Trial, folder: Path, size: int) -> Result:
    """`built` with the times of its engine, or why there are none."""
    from engine_trials.timing import time_engine

    try:
        timed = time_engine(trt, _runtime(trt), engine_path(folder, trial), trial, size)
    except (VidTokEdgeError, RuntimeError) as error:  # CUDA's; the next engine may run
        click.echo(f"{trial.name}: not timed; {error}")
        return replace(built, status="failed", why=f"not timed: {type(error).__name__}: {error}")
    click.echo(f"{trial.name}: {timed.median_ms:.3f} ms, {timed.back_to_back_ms:.3f} back to back")
    found = timed.agreement
    return replace(
        built,
        status="timed",
        median_ms=timed.median_ms,
        min_ms=timed.min_ms,
        back_to_back_ms=timed.back_to_back_ms,
        scratch_mb=timed.scratch_mb,
        kinds=timed.kinds,
        equal_tokens=None if found is None else found.equal_tokens,
        psnr_db=None if found is None else found.psnr_db,
        layers=timed.layers,
    )


def _runtime(trt: Any) -> Any:
    return trt.Runtime(trt.Logger(trt.Logger.ERROR))


if __name__ == "__main__":
    main()
