"""`bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.options import comma_list, force_option
from vidtok_edge.commands.printing import load_bundle, need_export, print_columns
from vidtok_edge.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from vidtok_edge.export.bench_streams import TorchBackend
    from vidtok_edge.runtime.bench.measuring.cameras import Policy
    from vidtok_edge.runtime.bench.measuring.candidate import Candidate
    from vidtok_edge.runtime.bench.measuring.turn import Settings


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--paced",
    type=float,
    metavar="FPS",
    help="Frames come at a camera's rate.  [default: saturated, as fast as they are taken]",
)
@click.option(
    "--seconds",
    type=float,
    default=10.0,
    show_default=True,
    help="Measured time of each candidate.",
)
@click.option(
    "--warmup",
    type=float,
    default=2.0,
    show_default=True,
    metavar="S",
    help="Before each round; in no figure but start-up.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Turns of each candidate.  [default: 1 for one; for several what a difference "
    "needs to be told, 7 for two]",
)
@click.option(
    "--backend",
    callback=comma_list,
    default="auto",
    show_default=True,
    metavar="A,B",
    help="auto, cpu, cuda, tensorrt, tensorrt-rtx.",
)
@click.option(
    "--precision",
    callback=comma_list,
    metavar="A,B",
    help="fp32, fp16, int8.  [default: all that a bundle has]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads of a call.  [default: ONNX Runtime's choice]",
)
@click.option(
    "--torch", "eager", is_flag=True, help="Also the float32 steps in PyTorch, eager, on the CPU."
)
@click.option(
    "--torch-compile", "compiled", is_flag=True, help="Also by torch.compile, on the CPU."
)
@click.option(
    "--checkpoint",
    metavar="PATH",
    help="For PyTorch: the file that the bundle's weights came from.",
)
@click.option("--decode", is_flag=True, help="Decode what was encoded, too.")
@click.option(
    "--deadline",
    type=float,
    metavar="MS",
    help="A latent that is later has missed it.  [default: the period of a chunk]",
)
@click.option(
    "--fps",
    "camera_fps",
    type=float,
    default=30.0,
    show_default=True,
    help="What real time means in a saturated run.",
)
@click.option(
    "--policy",
    type=click.Choice(["block", "drop-oldest", "drop-newest"]),
    default="block",
    show_default=True,
    help="Paced: when more frames wait than the queue holds.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="FRAMES",
    help="Paced: of each camera; not for block.",
)
@click.option(
    "--clip",
    type=click.Path(path_type=Path),
    help="Stream its first frames.  [default: a synthetic moving picture]",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything.")
@click.option(
    "--html", "html_file", type=click.Path(path_type=Path), help="Write a page to look at."
)
@force_option
@click.option("--dry-run", is_flag=True, help="List what would be measured, and measure nothing.")
def bench(
    bundles: tuple[Path, ...],
    paced: float | None,
    seconds: float,
    warmup: float,
    rounds: int | None,
    backend: tuple[str, ...],
    precision: tuple[str, ...],
    threads: int | None,
    eager: bool,
    compiled: bool,
    checkpoint: str | None,
    decode: bool,
    deadline: float | None,
    camera_fps: float,
    policy: Policy,
    queue: int,
    clip: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Latency and throughput, saturated or paced like a camera.

    The first candidate is what the others are held to. Sizes, streams, chunks and forms are a
    bundle's: name several bundles to compare them.
    """
    from vidtok_edge.runtime.bench.document import write_json
    from vidtok_edge.runtime.bench.measuring.candidate import candidates_of
    from vidtok_edge.runtime.bench.measuring.matrix import run_matrix
    from vidtok_edge.runtime.bench.measuring.ratios import rounds_needed
    from vidtok_edge.runtime.bench.measuring.runs import Pace
    from vidtok_edge.runtime.bench.measuring.turn import Settings
    from vidtok_edge.runtime.bench.showing.tables import disturbance, tables_of
    from vidtok_edge.runtime.files import require_writable

    for bundle in bundles:
        load_bundle(bundle)
    candidates = candidates_of(bundles, backend or ("auto",), precision, threads, _say_left_out)
    candidates += _torch_candidates(bundles, eager, compiled, threads, checkpoint)
    settings = Settings(
        Pace(paced, policy, queue),
        seconds,
        warmup,
        rounds or rounds_needed(len(candidates)),
        decode,
        deadline,
        None if clip is None else str(clip.resolve()),
        camera_fps,
    )
    _print_plan(candidates, settings)
    if dry_run:
        return
    for file in (json_file, html_file):
        if file is not None:
            require_writable(file, force)
    with click.progressbar(
        length=1000, label="measuring", file=sys.stderr, item_show_func=lambda what: what or ""
    ) as bar:

        def progress(share: float, what: str) -> None:
            bar.update(round(1000 * share) - bar.pos, what)

        done = run_matrix(candidates, settings, progress=progress)
    for table in tables_of(done):
        click.secho(f"\n{table.title}", bold=True)
        print_columns(table.rows)
        click.secho(table.note, dim=True)
    for warning in [*done.troubles, *filter(None, [disturbance(done)])]:
        click.secho(f"\nwarning: {warning}", fg="yellow", err=True)
    if json_file is not None:
        write_json(done, json_file, force)
        click.echo(f"\n{json_file}")
    if html_file is not None:
        from vidtok_edge.runtime.bench.showing.page import write_page

        write_page(done, html_file, force)
        click.echo(f"\n{html_file}")
    if done.interrupted:
        raise click.Abort
    if done.troubles:
        raise CheckFailed("Not everything was measured; the warnings above say what failed.")


def _say_left_out(candidate: Candidate) -> None:
    click.secho(
        f"{candidate} is left out: the bundle has no {candidate.precision} graph for this backend.",
        fg="yellow",
        err=True,
    )


def _torch_candidates(
    bundles: tuple[Path, ...],
    eager: bool,
    compiled: bool,
    threads: int | None,
    checkpoint: str | None,
) -> list[Candidate]:
    wanted: list[TorchBackend] = []
    wanted += ["torch-cpu"] if eager else []
    wanted += ["torch-compile-cpu"] if compiled else []
    if not wanted:
        if checkpoint is not None:
            raise UsageError("--checkpoint is for --torch and --torch-compile; leave it out.")
        return []
    need_export()
    from vidtok_edge.export.bench_streams import torch_candidates

    return torch_candidates(bundles, wanted, threads, checkpoint)


def _print_plan(candidates: list[Candidate], settings: Settings) -> None:
    from vidtok_edge.runtime.bench.showing.tables import settings_rows

    print_columns(settings_rows(settings))
    click.echo()
    for number, candidate in enumerate(candidates):
        note = "  (the others are held to it)" if number == 0 and len(candidates) > 1 else ""
        click.echo(f"{number + 1}. {candidate}{note}")
