"""`compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.options import (
    OutputName,
    PathName,
    comma_list,
    force_option,
    threads_option,
)
from vidtok_edge.commands.printing import (
    frame_bar,
    load_bundle,
    need,
    print_columns,
    stage,
    warn,
)
from vidtok_edge.commands.terminal import Styled, say
from vidtok_edge.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from vidtok_edge.runtime.comparing.compare import Comparison, Looked
    from vidtok_edge.runtime.comparing.half import Half
    from vidtok_edge.runtime.comparing.layers import LayerFigure
    from vidtok_edge.runtime.comparing.reduction import Reduction


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=PathName())
@click.option(
    "--backends",
    callback=comma_list,
    required=True,
    metavar="A,B",
    help="Two sides, as cpu:fp32,cpu:int8 or cpu:fp16,tensorrt:fp16; the second is held to the "
    "first. One for two bundles.",
)
@threads_option
@click.option(
    "--layers", is_flag=True, help="Also what each layer loses, in the call that differs."
)
@click.option(
    "--worst",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="How many layers are shown.",
)
@click.option(
    "--bisect",
    is_flag=True,
    help="Also reduce the second side's graph to the nodes that differ, into --output.",
)
@click.option("--output", "-o", type=OutputName(), metavar="FOLDER")
@force_option
def compare(
    bundles: tuple[Path, ...],
    backends: tuple[str, ...],
    threads: int | None,
    layers: bool,
    worst: int,
    bisect: bool,
    output: Path | None,
    force: bool,
) -> None:
    """Stream two backends side by side and say what differs first; exit 1 where something does.

    A second bundle of the same model is the second side. --layers and --bisect need the extra
    debug, the rest NumPy and the backends alone.
    """
    if bisect != (output is not None):
        raise UsageError("--bisect writes what is left into --output FOLDER: give both, or none.")
    if layers or bisect:
        need("debug")
    from vidtok_edge.runtime.comparing.compare import compare as compare_sides
    from vidtok_edge.runtime.comparing.compare import look_into
    from vidtok_edge.runtime.comparing.side import sides_of

    sides = sides_of([load_bundle(path) for path in bundles], backends)
    with frame_bar("comparing") as progress:
        comparison = compare_sides(sides, threads=threads, progress=progress)
    _show(comparison)
    if layers or bisect:
        looked = look_into(comparison)
        _show_layers(looked, worst)
        if output is not None:
            _bisect(comparison, looked, output, force)
    failed = [half.difference for half in comparison.halves if half.difference is not None]
    if failed:
        for difference in failed:
            say(difference.text)
        if not layers and not bisect:
            say("which layer it is: the same command with --layers")
        raise CheckFailed(f"{sides[1]} differs from {sides[0]}. {failed[0].text}")


def _show(comparison: Comparison) -> None:
    first, second = comparison.sides
    colour = "green" if comparison else "red"
    verdict = "nothing differs" if comparison else "they differ"
    say(Styled.of(f"{second}, held to {first}: {verdict}", fg=colour, bold=True))
    for side, info in zip(comparison.sides, comparison.halves[0].infos, strict=True):
        say(f"{side}: {info.library}")
        if info.fell_back:
            warn(f"{side} fell back: {info.fell_back}")
    rows = [("", "calls", "results", "at least", "lowest inside", "at least", "where")]
    print_columns(rows + [_row(half) for half in comparison.halves])


def _row(half: Half) -> tuple[str, ...]:
    if half.metric == "tokens":
        value, least = f"{half.value:.2%} of the tokens", f"{half.least:.2%}"
    else:
        value, least = f"{half.value:.1f} dB", f"{half.least:.1f} dB"
    call, seen = half.lowest
    where = f"{seen.name}, call {call}"
    inside = (f"{seen.db:.1f} dB", f"{seen.least:.1f} dB")
    return (half.kind, str(len(half.seen)), value, least, *inside, where)


def _show_layers(looked: Looked, worst: int) -> None:
    table = looked.table
    say(f"\n{looked.half.kind}, call {looked.call}, {len(table.figures)} tensors between layers")
    if table.left_out:
        warn(
            f"{table.left_out} tensors are not compared: they are integers, or one side has no such"
        )
    rows = [("layer", "node", "came in", "went out", "lost")]
    print_columns(rows + [_layer_row(figure) for figure in table.worst[:worst]])
    if table.first is None:
        say("no layer loses more than it may")
    else:
        say(f"the first layer that loses too much: {_named(table.first)}")
        say(f"the layer that loses most: {_named(table.worst[0])}")


def _layer_row(figure: LayerFigure) -> tuple[str, ...]:
    leaving = figure.leaving
    decibels = (f"{value:.1f} dB" for value in (figure.came_in, figure.went_out, figure.lost))
    return (str(leaving), leaving.node, *decibels)


def _named(figure: LayerFigure) -> str:
    return f"{figure.leaving}, {figure.lost:.1f} dB"


def _bisect(comparison: Comparison, looked: Looked, output: Path, force: bool) -> None:
    from vidtok_edge.runtime.comparing.compare import reduce

    if looked.half:
        say("nothing differs beyond its limit, so there is nothing to reduce")
        return
    reduction = reduce(
        comparison, looked, output, force=force, stage=lambda name, path: stage(name, path)
    )
    _show_reduction(reduction)
    say(str(output))


def _show_reduction(reduction: Reduction) -> None:
    say(
        f"\n{reduction.graph}: {len(reduction.nodes)} of {reduction.nodes_before} nodes are left, "
        f"after {reduction.checks} checks"
    )
    for name in reduction.nodes:
        say(f"  {name}")
    for figure in reduction.layers:
        if not figure:
            say(f"{figure.leaving} loses {figure.lost:.1f} dB of what it is given")
