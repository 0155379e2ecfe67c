"""`export-recording`: a recording as training data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from vidtok_edge.commands.options import (
    force_option,
    output_option,
)
from vidtok_edge.commands.printing import (
    frame_bar,
    need_record,
    warn_of_missing,
)


@click.command("export-recording")
@click.argument("recording", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--format", "format_", required=True, type=click.Choice(["npz", "webdataset", "lerobot"])
)
@click.option(
    "--task", default="recorded", show_default=True, help="lerobot: what the robot was doing."
)
@click.option(
    "--sample-latents",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="webdataset: latents in one sample.",
)
@click.option(
    "--shard-mb",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="webdataset: a shard is closed at this size.",
)
@force_option
def export_recording(
    recording: Path,
    output: Path,
    format_: Literal["npz", "webdataset", "lerobot"],
    task: str,
    sample_latents: int,
    shard_mb: int,
    force: bool,
) -> None:
    """A recording as training data: a folder of token files, of shards, or a LeRobot dataset."""
    need_record()
    from vidtok_edge.runtime.recording.exports.exporting import export_recording as export

    with frame_bar("exporting, latents") as progress:
        done = export(
            recording,
            output,
            format_,
            task=task,
            sample_latents=sample_latents,
            shard_bytes=shard_mb << 20,
            force=force,
            progress=progress,
        )
    click.echo(f"{done.latents} latents in {done.episodes} episodes, {done.files} files\n{output}")
    warn_of_missing(
        done.broken, done.damaged_bytes, done.unreadable, "behind each, another episode begins"
    )
