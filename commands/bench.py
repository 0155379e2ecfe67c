"""`bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from vidtok_edge.commands.bench_work import with_ceilings, with_work
from vidtok_edge.commands.options import (
    comma_list,
    compile_mode_list,
    force_option,
    given_options,
    threads_option,
)
from vidtok_edge.commands.printing import load_bundle, need_export, print_columns, warn
from vidtok_edge.commands.sections import SectionedCommand, section
from vidtok_edge.commands.terminal import say, screen, shown
from vidtok_edge.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from vidtok_edge.export.bench_streams import TorchBackend
    from vidtok_edge.runtime.bench.document import Document
    from vidtok_edge.runtime.bench.measuring.candidate import Candidate
    from vidtok_edge.runtime.bench.measuring.matrix import Benchmark
    from vidtok_edge.runtime.bench.settings import Policy, Settings
    from vidtok_edge.runtime.manifest.graphs import Precision


@click.command(cls=SectionedCommand)
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path))
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
    help="auto, cpu, cuda, tensorrt, tensorrt-rtx, onnxruntime-tensorrt-rtx.",
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
    type=click.Path(path_type=Path),
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
@section(
    "Paced, like a camera",
    click.option(
        "--paced",
        type=float,
        metavar="FPS",
        help="Frames come at a camera's rate.  [default: saturated, as fast as they are taken]",
    ),
    click.option(
        "--cameras",
        callback=comma_list,
        metavar="1,2,4",
        help="With --paced: of the bundles named, those with so many streams, and how many cameras "
        "are followed without a missed deadline.",
    ),
    click.option(
        "--deadline",
        type=float,
        metavar="MS",
        help="A latent that is later has missed it.  [default: the period of a chunk]",
    ),
    click.option(
        "--queue",
        type=click.Choice(["block", "drop-oldest", "drop-newest"]),
        default="block",
        show_default=True,
        help="What a full queue does.",
    ),
    click.option(
        "--capacity",
        type=click.IntRange(min=1),
        default=8,
        show_default=True,
        metavar="FRAMES",
        help="Frames in the queue of a camera, where --queue drops.",
    ),
)
@section(
    "PyTorch beside",
    click.option("--torch", "eager", is_flag=True, help="Also the steps in PyTorch, eager."),
    click.option("--torch-compile", "compiled", is_flag=True, help="Also by torch.compile."),
    click.option(
        "--torch-device",
        type=click.Choice(["cpu", "cuda"]),
        default="cpu",
        show_default=True,
        help="Of --torch and --torch-compile: the CPU, in fp32, or the GPU, in fp32 and fp16.",
    ),
    click.option(
        "--compile-mode",
        "modes",
        callback=compile_mode_list,
        default="default",
        show_default=True,
        metavar="A,B",
        help="Of --torch-compile on the GPU: default, reduce-overhead, max-autotune.",
    ),
    click.option(
        "--checkpoint",
        metavar="PATH",
        help="For PyTorch: the file that the bundle's weights came from.",
    ),
)
@section(
    "What comes out",
    click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything."),
    click.option(
        "--html", "html_file", type=click.Path(path_type=Path), help="Write a page to look at."
    ),
    click.option(
        "--from",
        "from_file",
        type=click.Path(path_type=Path),
        metavar="JSON",
        help="Measure nothing: show, and draw with --html, what --json wrote, here or elsewhere.",
    ),
    force_option,
)
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
        _refuse_measuring(context)
        _draw(from_file, html_file, force)
        return
    _refuse_what_would_be_ignored(context, paced, queue)
    if not bundles:
        raise UsageError("Name a bundle to measure, or with --from a file that --json wrote.")
    from vidtok_edge.runtime.bench.measuring.candidate import candidates_of
    from vidtok_edge.runtime.bench.measuring.frames import clip_doubts
    from vidtok_edge.runtime.bench.measuring.ratios import rounds_needed
    from vidtok_edge.runtime.bench.settings import Pace, Settings
    from vidtok_edge.runtime.files import require_writable

    streams = {bundle: load_bundle(bundle).manifest.streams for bundle in bundles}
    if cameras:
        bundles = _with_cameras(streams, cameras, paced)
    candidates = candidates_of(bundles, backend or ("auto",), precision, threads, _say_left_out)
    wanted = _torch_backends(eager, compiled, torch_device, modes, checkpoint)
    if wanted:
        need_export()
        from vidtok_edge.export.bench_streams import torch_candidates

        candidates += torch_candidates(
            bundles,
            wanted,
            threads,
            checkpoint,
            modes=modes,
            precisions=precision,
            left_out=_say_not_in_torch,
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
    _print_plan(candidates, settings)
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
    _print_tables(document)
    _say_planned(document)
    if json_file is not None:
        write_document(document, json_file, force)
        say(f"\n{json_file}")
    _write_page(document, html_file, force)


def _say_planned(document: Document) -> None:
    """Beside the most cameras that were followed, the most that a plan allows on this GPU."""
    from importlib.util import find_spec

    from vidtok_edge.runtime.bench.showing.knee import knees_of

    knees = knees_of(document)
    if not knees or any(find_spec(name) is None for name in ("torch", "onnx")):
        return
    from vidtok_edge.export.planning.cameras import device_called, planned_cameras
    from vidtok_edge.lowering.interface import KINDS
    from vidtok_edge.lowering.step import StepOptions
    from vidtok_edge.variants import variant_by_name

    device = device_called(document.machine.gpu.partition(",")[0])
    for knee in knees:
        one = knee.one
        if device is None or one.backend.endswith("cpu"):  # PyTorch on it, too
            say(f"{knee.name}: the table of `plan` has no such device.", dim=True)
            continue
        try:
            planned = planned_cameras(
                variant_by_name(one.variant),
                StepOptions(one.height, one.width, chunk=one.chunk, form="conv2d"),
                device=device,
                fps=document.settings.fps,
                kinds=KINDS if document.settings.decode else KINDS[:1],
                precision=cast("Precision", one.precision),
                numbers=(*knee.kept_up, *knee.missed),
            )
        except UsageError as error:  # a model of somebody's own
            say(f"{knee.name}: not planned: {error}", dim=True)
            continue
        most = "none of these" if planned is None else f"at most {planned} cameras"
        say(f"{knee.name}: `plan` allows {most} on {device.name}, a bound.", dim=True)


def _draw(from_file: Path, html_file: Path | None, force: bool) -> None:
    """Show what was measured elsewhere, and draw the page where it is wanted."""
    from vidtok_edge.runtime.bench.document_file import read_document

    document = read_document(from_file)
    _print_tables(document)
    _say_planned(document)
    _write_page(document, html_file, force)


def _refuse_measuring(context: click.Context) -> None:
    """With --from nothing is measured: what is about measuring would be ignored."""
    given = given_options(context) - {"from_file", "html_file", "force"}
    for parameter in context.command.params:
        if parameter.name not in given or not context.params[parameter.name]:
            continue
        shown = parameter.opts[0] if isinstance(parameter, click.Option) else "a bundle"
        raise UsageError(f"{shown} is for measuring, and --from measures nothing; leave one out.")


def _refuse_what_would_be_ignored(
    context: click.Context, paced: float | None, queue: Policy
) -> None:
    given = given_options(context)
    if paced is None and given & {"queue", "capacity"}:
        raise UsageError(
            "--queue and --capacity are of frames that come at a camera's rate: add --paced 30."
        )
    if paced is not None and "camera_fps" in given:
        raise UsageError(
            "--fps is what real time means in a saturated run, and --paced says the rate itself. "
            "Leave one out."
        )
    if queue == "block" and "capacity" in given:
        raise UsageError(
            "--capacity bounds what waits where --queue is drop-oldest or drop-newest; with block "
            "frames wait without limit. Name one of these, or leave it out."
        )


def _print_tables(document: Document) -> None:
    from vidtok_edge.runtime.bench.showing.tables import disturbance, not_metered, tables_of

    for table in tables_of(document):
        say(f"\n{table.title}", bold=True)
        print_columns(table.rows)
        say(table.note, dim=True)
    if (missing := not_metered(document)) is not None:
        say(missing, dim=True)
    for one in document.candidates:
        if one.proof.startswith("proof "):
            say(f"{one.name}: {one.proof}", dim=True)
    unproven = [f"{c.name}: {c.proof}" for c in document.candidates if c.proof.startswith("no ")]
    for warning in [*document.troubles, *unproven, *filter(None, [disturbance(document)])]:
        say(f"\nwarning: {warning}", fg="yellow", err=True)


def _write_page(document: Document, html_file: Path | None, force: bool) -> None:
    if html_file is None:
        return
    from vidtok_edge.runtime.bench.showing.page import write_page

    write_page(document, html_file, force)
    say(f"\n{html_file}")


def _say_left_out(candidate: Candidate) -> None:
    say(
        f"{candidate} is left out: the bundle has no {candidate.precision} graph for this backend.",
        fg="yellow",
        err=True,
    )


def _say_not_in_torch(candidate: Candidate) -> None:
    say(f"{candidate} is left out: PyTorch has no such step.", fg="yellow", err=True)


def _torch_backends(
    eager: bool,
    compiled: bool,
    device: Literal["cpu", "cuda"],
    modes: tuple[str, ...],
    checkpoint: str | None,
) -> list[TorchBackend]:
    """What is wanted of PyTorch; refuses options that would be ignored."""
    if not eager and not compiled:
        for option, given in (("--checkpoint", checkpoint), ("--torch-device", device != "cpu")):
            if given:
                raise UsageError(
                    f"{option} is for --torch and --torch-compile; add one of them, or leave it "
                    "out."
                )
    if modes != ("default",) and not (compiled and device == "cuda"):
        raise UsageError(
            f"--compile-mode {','.join(modes)} is for torch.compile on the GPU: add "
            "--torch-compile --torch-device cuda, or leave it out."
        )
    wanted: list[TorchBackend] = []
    if eager:
        wanted.append("torch-cuda" if device == "cuda" else "torch-cpu")
    if compiled:
        wanted.append("torch-compile-cuda" if device == "cuda" else "torch-compile-cpu")
    return wanted


def _print_plan(candidates: list[Candidate], settings: Settings) -> None:
    from vidtok_edge.runtime.bench.showing.tables import settings_rows

    print_columns(settings_rows(settings))
    say()
    for number, candidate in enumerate(candidates):
        note = "  (the others are held to it)" if number == 0 and len(candidates) > 1 else ""
        say(f"{number + 1}. {candidate}{note}")
