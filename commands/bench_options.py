"""The options of `bench` by what they are about, and which would be ignored together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.options import (
    OutputName,
    PathName,
    comma_list,
    compile_mode_list,
    force_option,
    given_options,
    named,
)
from vidtok_edge.commands.sections import section
from vidtok_edge.errors import UsageError

if TYPE_CHECKING:
    from vidtok_edge.export.bench_streams import TorchBackend
    from vidtok_edge.runtime.bench.settings import Policy

paced_options = section(
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

torch_options = section(
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
        callback=named,
        metavar="PATH",
        help="For PyTorch: the file that the bundle's weights came from.",
    ),
)

outcome_options = section(
    "What comes out",
    click.option("--json", "json_file", type=OutputName(), help="Write everything."),
    click.option("--html", "html_file", type=OutputName(), help="Write a page to look at."),
    click.option(
        "--from",
        "from_file",
        type=PathName(),
        metavar="JSON",
        help="Measure nothing: show, and draw with --html, what --json wrote, here or elsewhere.",
    ),
    force_option,
)


def refuse_measuring(context: click.Context) -> None:
    """With --from nothing is measured: what is about measuring would be ignored."""
    given = given_options(context) - {"from_file", "html_file", "force"}
    for parameter in context.command.params:
        if parameter.name not in given or not context.params[parameter.name]:
            continue
        shown = parameter.opts[0] if isinstance(parameter, click.Option) else "a bundle"
        raise UsageError(f"{shown} is for measuring, and --from measures nothing; leave one out.")


def refuse_what_would_be_ignored(
    context: click.Context, paced: float | None, queue: Policy
) -> None:
    """Raise UsageError for options of pacing that say nothing of this run."""
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


def torch_backends(
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
