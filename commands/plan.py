"""`plan`: what a tokenizer will cost, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from vidtok_edge.commands.options import (
    OutputName,
    finite,
    force_option,
    precision_list,
    size_list,
)
from vidtok_edge.commands.printing import need_models, print_columns
from vidtok_edge.commands.terminal import say

if TYPE_CHECKING:
    from vidtok_edge.export.planning.cost import Bound, Rates
    from vidtok_edge.export.planning.devices import Device
    from vidtok_edge.export.planning.plan import Plan
    from vidtok_edge.lowering.step import StepOptions
    from vidtok_edge.runtime.manifest.graphs import Precision
    from vidtok_edge.variants import Variant


@click.command(context_settings={"show_default": True})
@click.option("--variant", required=True, help="fsq, kl, or a full name; see `variants`.")
@click.option(
    "--size",
    "sizes",
    callback=size_list,
    default="256x256",
    metavar="HxW,...",
    help="Frame height x width in pixels; several are planned side by side.",
)
@click.option("--streams", default=1, metavar="B", help="Cameras in one batch.")
@click.option("--chunk", type=int, metavar="N", help="Latents per call.  [default: 1]")
@click.option("--precision", callback=precision_list, default="fp32,fp16,int8")
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), callback=finite, default=30.0, metavar="N"
)
@click.option(
    "--graphs",
    type=click.Choice(["encoder", "decoder", "both"]),
    default="encoder",
    help="What the device is to run.",
)
@click.option("--sources", is_flag=True, help="Also say where each device's numbers are from.")
@click.option("--json", "json_path", type=OutputName(), help="The same as a file.")
@force_option
def plan(
    variant: str,
    sizes: tuple[tuple[int, int], ...],
    streams: int,
    chunk: int | None,
    precision: tuple[Precision, ...],
    fps: float,
    graphs: Literal["encoder", "decoder", "both"],
    sources: bool,
    json_path: Path | None,
    force: bool,
) -> None:
    """Memory, work, rates, and the least time per call on known devices; builds nothing."""
    need_models()
    from vidtok_edge.export.planning.plan import plan_of
    from vidtok_edge.lowering.interface import KINDS
    from vidtok_edge.lowering.step import StepOptions
    from vidtok_edge.runtime.files import require_writable
    from vidtok_edge.runtime.manifest.documents import write_document
    from vidtok_edge.variants import variant_by_name

    if json_path is not None:
        require_writable(json_path, force)
    model = variant_by_name(variant)
    latents = StepOptions.chunk_for(model) if chunk is None else chunk
    kinds = KINDS if graphs == "both" else (graphs,)
    plans = [
        plan_of(
            model,
            StepOptions(*size, streams=streams, chunk=latents, form="conv2d"),
            fps=fps,
            kinds=kinds,
            precisions=precision,
        )
        for size in sizes
    ]
    _print_subject(variant, model, plans[0].options, fps)
    _print_rates(plans)
    _print_costs(plans)
    _print_bounds(plans)
    say(
        "Bounds, no forecasts: both peaks of the data sheet reached, activations free. A real\n"
        "call takes longer, often several times. late: cannot keep up even so. Memory is the\n"
        "least that is needed; a backend takes more. Measure an engine."
    )
    if sources:
        _print_sources()
    if json_path is not None:
        write_document(json_path, [found.facts() for found in plans], force)


def _print_subject(asked: str, model: Variant, options: StepOptions, fps: float) -> None:
    from vidtok_edge.variants import EMBEDDED

    say(
        f"{model.name}, form {options.form}\n{options.streams} stream(s), {options.chunk} "
        f"latent(s) per call, {fps:g} frames per second"
    )
    if asked == "fsq":
        say(
            "note: that is the published model. `export --variant fsq` without a checkpoint writes "
            f"the\nsmall one that ships with the package: --variant {EMBEDDED.name}"
        )


def _print_rates(plans: list[Plan]) -> None:
    rows = [("size", "ms between calls", "positions/s", "kbit/s of a stream", "of the raw frames")]
    rows += [
        (
            plan.size,
            f"{plan.rates.period_ms:.1f}",
            f"{plan.rates.tokens_per_second:.0f}",
            f"{plan.rates.bits_per_second / 1e3:.1f}",
            f"1/{plan.rates.raw_bits_per_second / plan.rates.bits_per_second:.0f}",
        )
        for plan in plans
    ]
    print_columns(rows)
    say()


def _print_costs(plans: list[Plan]) -> None:
    rows = [
        (
            "size",
            "graph",
            "weights",
            "2x caches",
            "activations",
            "memory",
            "moved",
            "multiply-adds",
            "in INT8",
        )
    ]
    rows += [
        (
            plan.size,
            f"{cost.kind}.{cost.precision}",
            _megabytes(cost.weights),
            _megabytes(2 * cost.caches),
            _megabytes(cost.activations),
            _megabytes(cost.memory),
            _megabytes(cost.moved),
            f"{cost.multiply_adds / 1e9:.2f} G",
            f"{cost.int8_share:.1%}" if cost.precision == "int8" else "-",
        )
        for plan in plans
        for found in plan.costs.values()
        for cost in found
    ]
    print_columns(rows)
    say(
        "MB; activations and memory at least; moved: to and from memory per call. A running graph\n"
        "holds two sets of caches: it reads one and writes the other.\n"
    )


def _print_bounds(plans: list[Plan]) -> None:
    """Columns are precisions; of several sizes, sizes, in a table for each precision."""
    if len(plans) == 1:
        _print_table("ms at least", plans[0].bounds, plans[0].rates)
        return
    for precision in plans[0].bounds:
        columns = {plan.size: plan.bounds[precision] for plan in plans}
        _print_table(f"{precision}, ms at least", columns, plans[0].rates)


def _print_table(title: str, columns: Mapping[Any, dict[Device, Bound]], rates: Rates) -> None:
    rows = [(title, *columns, "waits for", "memory")]
    for device in next(iter(columns.values())):
        found = {name: bounds[device] for name, bounds in columns.items()}
        times = [
            _milliseconds(b.ms) + (" late" if b.ms > rates.period_ms else "")
            for b in found.values()
        ]
        limits = "/".join(dict.fromkeys(b.limit for b in found.values()))
        short = [name for name, b in found.items() if not b.fits]
        memory = f"too small: {', '.join(short)}" if short else "may suffice"
        rows.append((device.name, *times, limits, memory))
    print_columns(rows)
    say()


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"


def _milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _print_sources() -> None:
    from vidtok_edge.export.planning.devices import DEVICES

    for device in DEVICES:
        say(
            f"\n{device.name}: {device.memory_gb:g} GB, {device.bandwidth_gbs:g} GB/s, "
            f"{device.fp32_tflops:g} fp32 and {device.fp16_tflops:g} fp16 TFLOPS, "
            f"{device.int8_tops:g} int8 TOPS\n    {device.source}"
        )
