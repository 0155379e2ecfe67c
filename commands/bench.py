"""`bench`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.bench_options import (
    outcome_options,
    paced_options,
    refuse_measuring,
    refuse_what_would_be_ignored,
    torch_backends,
    torch_options,
)
from vidtok_edge.commands.bench_printing import (
    print_plan,
    print_tables,
    say_left_out,
    say_not_in_torch,
    say_planned,
)
from vidtok_edge.commands.bench_work import with_ceilings, with_work
from vidtok_edge.commands.options import PathName, comma_list, threads_option
from vidtok_edge.commands.printing import load_bundle, need_models, warn
from vidtok_edge.commands.sections import SectionedCommand
from vidtok_edge.commands.terminal import say, screen, shown
from vidtok_edge.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from vidtok_edge.runtime.bench.document import Document
    from vidtok_edge.runtime.bench.measuring.candidate import Candidate
    from vidtok_edge.runtime.bench.measuring.matrix import Benchmark
    from vidtok_edge.runtime.bench.settings import Policy, Settings


@click.command(cls=SectionedCommand)
@click.argument("bundles", nargs=-1, type=PathName())
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
    help="auto, cpu, cuda, tensorrt, tensorrt-rtx, onnxruntime-tensorrt-rtx, openvino.",
)
@click.option(
    "--precision",
    callback=comma_list,
    metavar="A,B",
    help="fp32, fp16, int8.  [default: all that a bundle has]",
)
@threads_option
@click.option("--decode", is_flag=True, help="Decode what was encoded, too.")
@click.option(
    "--clip",
    type=PathName(),
    help="Stream its first frames.  [default: a synthetic moving picture]",
)
@click.option(
    "--fps",
    "camera_fps",
    type=float,
    default=30.0,
    show_default=True,
    help="What real time means in a saturated run.",
)
@click.option("--dry-run", is_flag=True, help="List what would be measured, and measure nothing.")
@paced_options
@torch_options
@outcome_options
@click.pass_context
def bench(
    context: click.Context,
    bundles: tuple[Path, ...],
    paced: float | None,
    cameras: tuple[str, ...],
    seconds: float,
    warmup: float,
    rounds: int | None,
    backend: tuple[str, ...],
    precision: tuple[str, ...],
    threads: int | None,
    eager: bool,
    compiled: bool,
    torch_device: Literal["cpu", "cuda"],
    modes: tuple[str, ...],
    checkpoint: str | None,
    decode: bool,
    deadline: float | None,
    camera_fps: float,
    queue: Policy,
    capacity: int,
    clip: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    from_file: Path | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Latency and throughput, saturated or paced like a camera.

    The first candidate is what the others are held to. Sizes, streams, chunks and forms are a
    bundle's: name several bundles to compare them.
    """
    if from_file is not None:
        refuse_measuring(context)
        _require_apart(None, html_file, [from_file])
        _draw(from_file, html_file, force)
        return
    refuse_what_would_be_ignored(context, paced, queue)
    if not bundles:
        raise UsageError("Name a bundle to measure, or with --from a file that --json wrote.")
    _require_apart(json_file, html_file, [file for file in (clip, checkpoint) if file])
    from vidtok_edge.runtime.bench.measuring.candidate import candidates_of
    from vidtok_edge.runtime.bench.measuring.frames import clip_doubts
    from vidtok_edge.runtime.bench.measuring.ratios import rounds_needed
    from vidtok_edge.runtime.bench.settings import Pace, Settings
    from vidtok_edge.runtime.files import require_writable

    streams = {bundle: load_bundle(bundle).manifest.streams for bundle in bundles}
    if cameras:
        bundles = _with_cameras(streams, cameras, paced)
    candidates = candidates_of(bundles, backend or ("auto",), precision, threads, say_left_out)
    wanted = torch_backends(eager, compiled, torch_device, modes, checkpoint)
    if wanted:
        need_models()
        from vidtok_edge.export.bench_streams import torch_candidates

        candidates += torch_candidates(
            bundles,
            wanted,
            threads,
            checkpoint,
            modes=modes,
            precisions=precision,
            left_out=say_not_in_torch,
        )
    settings = Settings(
        Pace(paced, queue, capacity),
        seconds=seconds,
        warmup_s=warmup,
        rounds=rounds or rounds_needed(len(candidates)),
        decode=decode,
        deadline_ms=deadline,
        clip=None if clip is None else str(clip.resolve()),
        camera_fps=camera_fps,
    )
    print_plan(candidates, settings)
    for doubt in () if clip is None else clip_doubts(clip):
        warn(f"{clip}: {doubt}")
    if dry_run:
        return
    for file in (json_file, html_file):
        if file is not None:
            require_writable(file, force)
    done = _measured(candidates, settings)
    _write(done, json_file, html_file, force)
    if done.interrupted is not None:
        raise done.interrupted
    if done.troubles:
        raise CheckFailed("Not everything was measured; the warnings above say what failed.")


def _require_apart(
    json_file: Path | None, html_file: Path | None, read: Sequence[str | Path]
) -> None:
    """Raise UsageError where an output would take the place of the other, or of what is read."""
    from vidtok_edge.runtime.files import require_not_read

    files = [file for file in (json_file, html_file) if file is not None]
    if len({os.path.realpath(file) for file in files}) < len(files):
        raise UsageError(f"{json_file} is named with --json and with --html. Name two files.")
    for file in files:
        require_not_read(file, *read)


def _with_cameras(
    streams: dict[Path, int], cameras: tuple[str, ...], paced: float | None
) -> tuple[Path, ...]:
    """The bundles, of those whose `streams` are known, that have so many; the fewest first."""
    if paced is None:
        raise UsageError("--cameras counts deadlines, which --paced sets: add --paced 30.")
    try:
        wanted = sorted({int(number) for number in cameras})
    except ValueError:
        raise UsageError(
            f"--cameras is {','.join(cameras)}; use whole numbers with commas, as 1,2,4."
        ) from None
    if missing := [number for number in wanted if number not in streams.values()]:
        there = ", ".join(map(str, sorted({*streams.values()})))
        raise UsageError(
            f"No bundle that is named has {missing[0]} streams; there are some with {there}. The "
            "number is a bundle's: export one with "
            f"`vidtok-edge export --streams {missing[0]}`, and name it too."
        )
    return tuple(path for number in wanted for path, count in streams.items() if count == number)


def _measured(candidates: list[Candidate], settings: Settings) -> Benchmark:
    from vidtok_edge.runtime.bench.measuring.matrix import run_matrix

    def item(what: str | None) -> str:
        return shown(what or "", one_line=True)

    with click.progressbar(
        length=1000, label="measuring", file=screen(), item_show_func=item
    ) as bar:

        def progress(share: float, what: str) -> None:
            bar.update(round(1000 * share) - bar.pos, what)

        return run_matrix(candidates, settings, progress=progress)


def _write(done: Benchmark, json_file: Path | None, html_file: Path | None, force: bool) -> None:
    """Show what was measured, and write it where it is wanted."""
    from vidtok_edge.runtime.bench.document_file import write_document
    from vidtok_edge.runtime.bench.measuring.documents import document_of

    document = document_of(done, pictures=json_file is not None or html_file is not None)
    document = with_ceilings(with_work(document))
    print_tables(document)
    say_planned(document)
    if json_file is not None:
        write_document(document, json_file, force)
        say(f"\n{json_file}")
    _write_page(document, html_file, force)


def _draw(from_file: Path, html_file: Path | None, force: bool) -> None:
    """Show what was measured elsewhere, and draw the page where it is wanted."""
    from vidtok_edge.runtime.bench.document_file import read_document

    document = read_document(from_file)
    print_tables(document)
    say_planned(document)
    _write_page(document, html_file, force)


def _write_page(document: Document, html_file: Path | None, force: bool) -> None:
    if html_file is None:
        return
    from vidtok_edge.runtime.bench.showing.page import write_page

    write_page(document, html_file, force)
    say(f"\n{html_file}")
