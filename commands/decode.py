"""`decode`: tokens to a clip."""

from __future__ import annotations

from pathlib import Path

import click

from vidtok_edge.commands.options import (
    PathName,
    backend_option,
    bundle_option,
    force_option,
    output_option,
    precision_option,
)
from vidtok_edge.commands.printing import (
    frame_bar,
    load_bundle,
    need,
)
from vidtok_edge.commands.terminal import say


@click.command()
@click.argument("tokens", type=PathName())
@bundle_option
@output_option
@click.option("--fps", type=float, help="Of the clip; what the token file says where not given.")
@backend_option
@precision_option
@force_option
def decode(
    tokens: Path,
    bundle: Path,
    output: Path,
    fps: float | None,
    backend: str,
    precision: str | None,
    force: bool,
) -> None:
    """Tokens to a clip (.mp4, .mkv)."""
    need("video")
    from vidtok_edge.runtime.clips.transcoding import decode_file

    with frame_bar("decoding") as progress:
        done = decode_file(
            load_bundle(bundle),
            tokens,
            output,
            fps=fps,
            backend=backend,
            precision=precision,
            force=force,
            progress=progress,
        )
    say(f"{done.frames} frames, {done.frames / done.seconds:.1f} frames/s\n{output}")
