"""Options and values that several commands take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """HxW in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        try:
            height, width = (int(part) for part in str(value).lower().split("x"))
        except ValueError:
            self.fail(f"{value!r} is not a size; write height x width in pixels, as 256x256")
        return height, width


class ByteCount(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """A number of bytes: 500MB, 20GB, 1GiB, or without a unit."""

    name = "SIZE"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9.]+) *([kmgt]?)(i?)b?", str(value).strip().lower())
        try:
            number = float(match[1]) if match else float("nan")
        except ValueError:
            number = float("nan")
        if match is None or not 0 < number < 1e15:
            self.fail(f"{value!r} is no number of bytes; write it as 500MB, 20GB or 1GiB")
        step = 1024 if match[3] else 1000
        return int(number * float(step) ** " kmgt".index(match[2] or " "))


_EMPTY = "a name is empty; perhaps a variable that the command has in it is not set"


class PathName(click.Path):
    """The name of a file or a folder. An empty one would be the folder that one is in."""

    def __init__(self) -> None:
        # Not `readable`: who opens it says better what is wrong, with the exit code of that.
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not os.fspath(value):
            self.fail(_EMPTY, param, ctx)
        return super().convert(value, param, ctx)


class OutputName(PathName):
    """Where something is written that needs a file or a folder."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "-":  # it would be a file of that name
            self.fail("nothing is written to standard output here; name a place", param, ctx)
        return super().convert(value, param, ctx)


def named(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """For texts that name something: none is empty."""
    if "" in (value if isinstance(value, tuple) else (value,)):
        raise click.BadParameter(_EMPTY)
    return value


def size_list(
    context: click.Context, option: click.Parameter, value: str
) -> tuple[tuple[int, int], ...]:
    return tuple(
        Size().convert(part, option, context) for part in value.replace(" ", "").split(",")
    )


def finite(context: click.Context, option: click.Parameter, value: float) -> float:
    if not isfinite(value):  # a range of click's lets nan through
        raise click.BadParameter(f"{value} is no number to count with")
    return value


def comma_list(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[str, ...]:
    return tuple(part for part in (value or "").replace(" ", "").split(",") if part)


def precision_list(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(comma_list(context, option, value)))
    if not names or set(names) - {"fp32", "fp16", "int8"}:
        raise click.BadParameter(f"{value!r}; allowed: fp32, fp16, int8, separated by commas")
    return names


def form_list(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(comma_list(context, option, value)))
    if not names or set(names) - {"channels_last", "conv2d", "conv3d"}:
        raise click.BadParameter(
            f"{value!r}; allowed: channels_last, or conv2d, conv3d, separated by commas"
        )
    return names


def compile_mode_list(
    context: click.Context, option: click.Parameter, value: str
) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(comma_list(context, option, value)))
    if not names or set(names) - {"default", "reduce-overhead", "max-autotune"}:
        raise click.BadParameter(
            f"{value!r}; allowed: default, reduce-overhead, max-autotune, separated by commas"
        )
    return names


def given_options(context: click.Context) -> set[str]:
    """The parameters that stand on the command line."""
    given = ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) == given}


def rate_of(text: str | None) -> float | Literal["every-frame"] | None:
    if text is None or text == "every-frame":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor every-frame") from None


bundle_option = click.option(
    "--bundle",
    "-b",
    required=True,
    type=PathName(),
    help="Folder that `export` wrote.",
)
output_option = click.option("--output", "-o", required=True, type=OutputName())
backend_option = click.option(
    "--backend",
    default="auto",
    show_default=True,
    help="auto (the fastest here), onnxruntime, cpu, cuda, tensorrt, tensorrt-rtx, "
    "onnxruntime-tensorrt-rtx, openvino.",
)
precision_option = click.option(
    "--precision", help="fp32, fp16 or int8.  [default: the bundle's first]"
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 1024),  # choosing.MOST_THREADS
    metavar="N",
    help="CPU threads of a call.  [default: ONNX Runtime's choice]",
)
checkpoint_option = click.option(
    "--checkpoint",
    callback=named,
    metavar="PATH",
    help="The file that the bundle's weights came from.",
)
force_option = click.option("--force", is_flag=True, help="Replace what is there.")
fit_option = click.option(
    "--fit",
    type=click.Choice(["crop", "letterbox"]),
    default="crop",
    show_default=True,
    help="How the clip is brought to the bundle's size.",
)
fps_option = click.option(
    "--fps",
    metavar="N|every-frame",
    help="Sample the clip at about N frames per second, or take each frame "
    "of a variable rate as it comes.",
)
stream_option = click.option(
    "--stream",
    type=click.IntRange(min=0),
    metavar="N",
    help="Number of the video stream in the file.  [default: its default or best one]",
)


def clip_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a clip is read: --fit, --fps and --stream."""
    return fit_option(fps_option(stream_option(command)))


view_option = click.option(
    "--view",
    callback=named,
    metavar="[window|HOST:PORT|FILE.rrd]",
    is_flag=False,
    flag_value="window",
    help="Show it in the Rerun viewer: a window here, a viewer elsewhere, or written to a file.",
)
