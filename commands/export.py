"""`export`: a verified bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.net import Command
from vidtok_edge.commands.options import (
    OutputName,
    PathName,
    Size,
    form_list,
    named,
    precision_list,
)
from vidtok_edge.commands.printing import (
    describe,
    frame_bar,
    need_export,
    print_columns,
    print_report,
    require_passed,
    stage,
    warn,
)
from vidtok_edge.commands.terminal import say
from vidtok_edge.errors import UsageError

if TYPE_CHECKING:
    from vidtok_edge.export import Exported, ExportPlan
    from vidtok_edge.export.verifying.precision_table import WorstClips
    from vidtok_edge.lowering.forms import FormName
    from vidtok_edge.runtime.manifest.graphs import Precision

OFFICIAL = (
    "For the official weights: --variant fsq --checkpoint hub (or --variant FULL_NAME "
    "--checkpoint PATH)"
)


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--variant", help="fsq, kl, or a full name; see `variants`.")
@click.option(
    "--config",
    type=PathName(),
    help="In place of --variant: the YAML that a model of your own was trained with.",
)
@click.option(
    "--checkpoint",
    callback=named,
    metavar="PATH|hub|random",
    help="Weights; none: the small tokenizer that ships with the package, for --variant fsq.",
)
@click.option("--size", type=Size(), default="256x256", help="Frame height x width in pixels.")
@click.option("--streams", default=1, metavar="B", help="Slots of the batch: how many cameras.")
@click.option(
    "--chunk",
    type=int,
    metavar="N",
    help="Latents per call.  [default: 1; non-causal: the whole window]",
)
@click.option(
    "--precision",
    callback=precision_list,
    default="fp32",
    metavar="fp32,fp16,int8",
    help="Which graphs; the first is what the runtime takes by default.",
)
@click.option(
    "--form",
    callback=form_list,
    default="channels_last",
    metavar="channels_last|conv2d,conv3d",
    help="Layout of the computation. channels_last is FP32 for ONNX Runtime, FP16 stays conv2d. Of "
    "the others engines are built, in FP32 too; of two `build --form auto` keeps the faster.",
)
@click.option(
    "--io",
    type=click.Choice(["uint8", "float"]),
    default="uint8",
    help="Frames as bytes, or as float32 in [-1, 1] for comparing numbers.",
)
@click.option(
    "--output",
    "-o",
    type=OutputName(),
    help="Folder to write.  [default: vidtok-VARIANT]",
)
@click.option("--ema", is_flag=True, help="Take the averaged weights of the checkpoint.")
@click.option("--seed", default=0, help="Of --checkpoint random.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the checkpoint, say what would be written, and write nothing.",
)
def export(
    variant: str | None,
    config: Path | None,
    checkpoint: str | None,
    size: tuple[int, int],
    streams: int,
    chunk: int | None,
    precision: tuple[Precision, ...],
    form: tuple[FormName, ...],
    io: Literal["uint8", "float"],
    output: Path | None,
    ema: bool,
    seed: int,
    force: bool,
    dry_run: bool,
) -> None:
    """Write a verified streaming bundle: step graphs, manifest, parity report."""
    need_export()
    from vidtok_edge.export import ExportRequest, export_bundle, plan_export
    from vidtok_edge.lowering.step import StepOptions
    from vidtok_edge.variants import EMBEDDED
    from vidtok_edge.vidtok_ref.config import variant_from_config

    if (variant is None) == (config is None):
        raise UsageError("Name the model with --variant or with --config, one of the two.")
    model = variant_from_config(config) if config is not None else str(variant)
    request = ExportRequest(
        variant=model,
        output=output or Path(f"vidtok-{model if isinstance(model, str) else model.name}"),
        checkpoint=checkpoint,
        options=StepOptions(*size, streams=streams, form=form[0], io=io),
        other_forms=form[1:],
        precisions=precision,
        force=force,
        seed=seed,
        ema=ema,
    )
    resolved = request.resolved
    latents = StepOptions.chunk_for(resolved) if chunk is None else chunk
    request = request.with_options(replace(request.options, chunk=latents))
    say(f"{resolved.name}, {size[0]}x{size[1]}, {streams} stream(s), {latents} latent(s) per call")
    if resolved is EMBEDDED:
        say(
            "This is the small tokenizer that ships with the package, for demos and tests.\n"
            f"{OFFICIAL}",
            fg="yellow",
        )
    say(f"promise  {resolved.promise}")
    if dry_run:
        _print_plan(plan_export(request), request.output)
        return
    exported = export_bundle(request, stage, frame_bar)
    for report in (exported.report, *exported.other_reports):
        print_report(report)
    print_precisions(exported)
    for note in exported.notes:
        warn(note)
    say(f"\n{describe(exported.bundle.manifest)}\n{request.output}")
    for report in (exported.report, *exported.other_reports):
        require_passed(report, f"{request.output} was written and is marked unverified")


def _print_plan(plan: ExportPlan, output: Path) -> None:
    say(f"would write {output}:")
    rows = []
    for precision in plan.precisions:
        part = {"fp32": 1.0, "fp16": 0.5, "int8": 0.25}[precision]
        for kind, interface in (("encoder", plan.encoder), ("decoder", plan.decoder)):
            caches = [spec for spec in interface.inputs if spec.name.startswith("cache_")]
            size = sum(spec.nbytes for spec in caches) / 1e6
            rows.append(
                (
                    f"  {kind}.{precision}.onnx",
                    f"about {part * plan.weight_bytes[kind] / 1e6:.0f} MB",
                    f"{len(caches)} caches, {'' if part == 1 else 'about '}{part * size:.1f} MB",
                    ", ".join(map(str, interface.inputs[:1])),
                )
            )
    for note in plan.notes:
        warn(note)
    if "int8" in plan.precisions:
        rows.append(("  and the same for TensorRT", "*.int8-tensorrt.onnx", "", ""))
    print_columns(rows)


def _worst(found: WorstClips) -> tuple[str, str, str]:
    tokens = "-" if found.tokens is None else f"{found.tokens[0]:.1%} ({found.tokens[1]})"
    (psnr, of_psnr), (ssim, of_ssim) = found.psnr, found.ssim
    return tokens, f"{psnr:.2f} ({of_psnr})", f"{ssim:.3f} ({of_ssim})"


def print_precisions(exported: Exported) -> None:
    """The precisions side by side, where there is more than one."""
    if len(exported.bundle.manifest.precisions) < 2:
        return
    from vidtok_edge.export.verifying.precision_table import precision_rows

    rows = precision_rows(exported.bundle, exported.report)
    machine = ("files MB", "caches MB", "encode ms", "decode ms")
    table: list[tuple[str, ...]] = [
        ("graphs", *machine, "tokens equal", "PSNR lost dB", "SSIM lost")
    ]
    for row in rows:
        table.append(
            (
                row.graphs,
                f"{row.file_bytes / 1e6:.1f}",
                f"{row.cache_bytes / 1e6:.1f}",
                *("-" if ms is None else f"{ms:.0f}" for ms in (row.encode_ms, row.decode_ms)),
                *(("-",) * 3 if row.graphs == "fp32" else _worst(row.worst)),
            )
        )
    clips = ", ".join(loss.clip for loss in rows[0].losses)
    say(
        f"\nprecisions side by side; a step is one call; int8-tensorrt is for engines; quality is "
        f"that of the\nworst clip, which is named, of {clips}; each is in the table above"
    )
    print_columns(table)
