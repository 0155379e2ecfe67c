"""`plan`: what a tokenizer will cost, before anything is built."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from vidtok_edge.commands.options import precision_list, size_list
from vidtok_edge.commands.printing import need_export, print_columns

if TYPE_CHECKING:
    from vidtok_edge.export.cost import GraphCost, Rates
    from vidtok_edge.export.step import StepOptions
    from vidtok_edge.runtime.manifest import Precision
    from vidtok_edge.vidtok_ref import Variant


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
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), default=30.0, metavar="N")
@click.option(
    "--graphs",
    type=click.Choice(["encoder", "decoder", "both"]),
    default="encoder",
    help="What the device is to run.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="The same as a file.")
def plan(
    variant: str,
    sizes: tuple[tuple[int, int], ...],
    streams: int,
    chunk: int | None,
    precision: tuple[Precision, ...],
    fps: float,
    graphs: Literal["encoder", "decoder", "both"],
    json_path: Path | None,
) -> None:
    """Memory, work, rates, and the least time per call on known devices; builds nothing."""
    need_export()
    from vidtok_edge.calib.placement import planned_numerics
    from vidtok_edge.export.cost import bound, cost_of, rates_of
    from vidtok_edge.export.devices import DEVICES
    from vidtok_edge.export.interface import KINDS
    from vidtok_edge.export.step import StepOptions
    from vidtok_edge.runtime.files import write_beside
    from vidtok_edge.vidtok_ref import variant_by_name

    model = variant_by_name(variant)
    latents = StepOptions.chunk_for(model) if chunk is None else chunk
    kinds = KINDS if graphs == "both" else (graphs,)
    facts: list[dict[str, Any]] = []
    for height, width in sizes:
        options = StepOptions(height, width, streams, latents)
        rates = rates_of(model, options, fps)
        costs = {
            name: [
                cost_of(model, options, k, planned_numerics(model, options, k, name)) for k in kinds
            ]
            for name in precision
        }
        bounds = {d: {p: bound(costs[p], d) for p in precision} for d in DEVICES}
        _print_costs(model, options, fps, rates, costs)
        rows = [("device", *(f"{p} ms" for p in precision), "waits for", "memory")]
        for device, found in bounds.items():
            times = [
                _milliseconds(b.ms) + (" late" if b.ms > rates.period_ms else "")
                for b in found.values()
            ]
            limits = "/".join(dict.fromkeys(b.limit for b in found.values()))
            short = [p for p, b in found.items() if not b.fits]
            rows.append(
                (device.name, *times, limits, f"too small: {', '.join(short)}" if short else "ok")
            )
        print_columns(rows)
        click.echo()
        facts.append(
            {
                "variant": model.name,
                "options": asdict(options),
                "fps": fps,
                "rates": asdict(rates),
                "costs": {p: [asdict(c) for c in costs[p]] for p in precision},
                "bounds": {
                    d.name: {
                        p: asdict(b)
                        | {"ms": b.ms, "limit": b.limit, "late": b.ms > rates.period_ms}
                        for p, b in found.items()
                    }
                    for d, found in bounds.items()
                },
                "sources": {d.name: d.source for d in DEVICES},
            }
        )
    click.echo(
        "Bounds, no forecasts: both peaks of the data sheet reached, activations free. A real\n"
        "call takes longer, often several times. late: cannot keep up even so. Measure an engine."
    )
    if json_path:
        with write_beside(json_path, force=True) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _print_costs(
    variant: Variant, options: StepOptions, fps: float, rates: Rates,
    costs: dict[Precision, list[GraphCost]],
) -> None:  # fmt: skip
    size = f"{options.height}x{options.width}"
    click.echo(
        f"{variant.name}, {size}, {options.streams} stream(s), {options.chunk} latent(s) per call, "
        f"{fps:g} frames per second"
    )
    ratio = rates.raw_bits_per_second / rates.bits_per_second
    click.echo(
        f"a call every {rates.period_ms:.1f} ms; each stream {rates.tokens_per_second:.0f} "
        f"positions/s, {rates.bits_per_second / 1e3:.1f} kbit/s, 1/{ratio:.0f} of the raw frames"
    )
    rows = [("graph", "weights MB", "caches MB, two sets", "moved per call MB", "multiply-adds",
             "in INT8")]  # fmt: skip
    rows += [
        (
            f"{cost.kind}.{cost.precision}",
            f"{cost.weights / 1e6:.1f}",
            f"{2 * cost.caches / 1e6:.1f}",
            f"{cost.moved / 1e6:.1f}",
            f"{cost.multiply_adds / 1e9:.2f} G",
            f"{cost.int8_share:.1%}" if cost.precision == "int8" else "-",
        )
        for found in costs.values()
        for cost in found
    ]
    print_columns(rows)
    click.echo()
