"""`reconstruct`: a clip through the tokenizer and back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from vidtok_edge.commands.options import (
    OutputName,
    PathName,
    backend_option,
    bundle_option,
    clip_options,
    force_option,
    output_option,
    precision_option,
    rate_of,
)
from vidtok_edge.commands.printing import (
    frame_bar,
    load_bundle,
    need,
    print_columns,
    report_loss,
    warn,
)


@click.command()
@click.argument("clip", type=PathName())
@bundle_option
@output_option
@click.option(
    "--picture",
    type=OutputName(),
    help="The contact sheet.  [default: OUTPUT as .png]",
)
@clip_options
@backend_option
@precision_option
@force_option
def reconstruct(
    clip: Path,
    bundle: Path,
    output: Path,
    picture: Path | None,
    fit: Literal["crop", "letterbox"],
    fps: str | None,
    stream: int | None,
    backend: str,
    precision: str | None,
    force: bool,
) -> None:
    """A clip, or a folder of images with --fps, through the tokenizer and back.

    Written side by side, with a picture and figures.
    """
    need("video")
    from vidtok_edge.runtime.clips.transcoding import ClipSource, reconstruct_clip

    loaded = load_bundle(bundle)
    source = ClipSource(clip, fit, rate_of(fps), stream)
    with frame_bar("reconstructing") as progress:
        done = reconstruct_clip(
            loaded,
            source,
            output,
            picture=picture,
            backend=backend,
            precision=precision,
            force=force,
            progress=progress,
        )
    worst = f"{done.worst_psnr_db:.2f} dB in frame {done.worst_frame}"
    kilobits = done.bits_per_second / 1000
    print_columns(
        [
            ("frames", f"{done.frames} at {done.fps:g} fps"),
            ("PSNR", f"{done.psnr_db:.2f} dB, worst {worst}"),
            ("SSIM", f"{done.ssim:.4f}"),
            ("token rate", f"{done.tokens_per_second:.0f} positions/s, {kilobits:.1f} kbit/s"),
            ("bits per pixel", f"{done.bits_per_pixel:.4f}"),
            ("encode", f"{done.encode_fps:.1f} frames/s"),
            ("decode", f"{done.decode_fps:.1f} frames/s"),
            ("backend", done.backend),
            ("clip", str(output)),
            ("picture", str(picture or output.with_suffix(".png"))),
        ]
    )
    for doubt in done.doubts:
        warn(doubt)
    report_loss(done.lost)
