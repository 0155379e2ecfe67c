"""`encode`: a clip to tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from vidtok_edge.commands.options import (
    PathName,
    backend_option,
    bundle_option,
    clip_options,
    force_option,
    output_option,
    precision_option,
    rate_of,
)
from vidtok_edge.commands.printing import frame_bar, load_bundle, need, report_loss, warn
from vidtok_edge.commands.terminal import say


@click.command()
@click.argument("clip", type=PathName())
@bundle_option
@output_option
@clip_options
@backend_option
@precision_option
@force_option
def encode(
    clip: Path,
    bundle: Path,
    output: Path,
    fit: Literal["crop", "letterbox"],
    fps: str | None,
    stream: int | None,
    backend: str,
    precision: str | None,
    force: bool,
) -> None:
    """A clip, or a folder of images with --fps, to tokens (.npz)."""
    need("video")
    from vidtok_edge.runtime.clips.transcoding import ClipSource, encode_clip

    loaded = load_bundle(bundle)
    source = ClipSource(clip, fit, rate_of(fps), stream)
    with frame_bar("encoding") as progress:
        done = encode_clip(
            loaded,
            source,
            output,
            backend=backend,
            precision=precision,
            force=force,
            progress=progress,
        )
    say(
        f"{done.frames} frames -> {done.latents} latents, {done.tokens} "
        f"{'tokens' if loaded.manifest.model.levels else 'values'}, "
        f"{done.bits_per_pixel:.4f} bits per pixel, "
        f"{done.frames / done.seconds:.1f} frames/s\n{output}"
    )
    for doubt in done.doubts:
        warn(doubt)
    report_loss(done.lost)
