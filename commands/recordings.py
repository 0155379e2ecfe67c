"""`recover`, `replay` and `export-recording`: what becomes of a recording."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from vidtok_edge.commands.options import (
    backend_option,
    bundle_option,
    force_option,
    output_option,
    precision_option,
    view_option,
)
from vidtok_edge.commands.printing import frame_bar, load_bundle, need, need_video
from vidtok_edge.errors import CheckFailed


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@output_option
@force_option
def recover(recording: Path, output: Path, force: bool) -> None:
    """A recording that was cut off or damaged to one that is whole.

    Says what was lost. Exit codes: 0 nothing was lost; 1 something was; 3 nothing can be read.
    """
    need("This command", "record", ("mcap",))
    from vidtok_edge.runtime.recording.recovery import recover as recover_recording

    with frame_bar("recovering, seconds") as progress:
        found = recover_recording(recording, output, force=force, progress=progress)
    for line in (*found.lines(), str(output)):
        click.echo(line)
    if not found:
        raise CheckFailed(f"something of {recording} was lost; what is left is in {output}")


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@bundle_option
@click.option(
    "--output",
    "-o",
    metavar="PATH|-",
    help="A clip (.mp4, .mkv), or - for raw RGB frames on standard output.",
)
@click.option("--source", type=int, default=0, show_default=True, help="Which camera, from 0.")
@click.option("--start", type=float, help="Seconds from the beginning of the recording.")
@click.option("--end", type=float, help="Seconds from the beginning of the recording.")
@click.option("--fps", type=float, help="Of the clip, 0.01 to 1000.  [default: as it was recorded]")
@backend_option
@precision_option
@view_option
@force_option
def replay(
    recording: Path,
    bundle: Path,
    output: str | None,
    source: int,
    start: float | None,
    end: float | None,
    fps: float | None,
    backend: str,
    precision: str | None,
    view: str | None,
    force: bool,
) -> None:
    """A recording, or a part of it, back to frames."""
    need("This command", "record", ("mcap",))
    if output is None and view is None:
        raise click.UsageError("Say where the frames go: --output PATH, or --view to look at them.")
    if output not in ("-", None):
        need_video()
    from vidtok_edge.runtime.session.replay import replay as replay_recording
    from vidtok_edge.runtime.viewing.target import ViewTarget

    with frame_bar("decoding") as progress:
        done = replay_recording(
            recording,
            load_bundle(bundle),
            sys.stdout.buffer if output == "-" else output,
            source=source,
            start_s=start,
            end_s=end,
            fps=fps,
            backend=backend,
            precision=precision,
            force=force,
            view=ViewTarget.parse(view) if view else None,
            progress=progress,
        )
    place = "" if output in ("-", None) else f"\n{output}"
    click.echo(
        f"{done.frames} frames at {done.fps:g} fps, {done.streams} streams{place}",
        err=output == "-",
    )
    _warn_of_missing(
        done.broken,
        done.damaged_bytes,
        done.unreadable,
        "the frames after each are near to what was encoded, not equal",
    )
    if done.cut_off:
        _warn("the end of the source is missing: the recording was cut off, or still goes on")


def _warn_of_missing(broken: int, damaged_bytes: int, unreadable: int, effect: str) -> None:
    if broken or damaged_bytes or unreadable:
        _warn(
            f"latents are missing in {broken} places ({damaged_bytes} bytes damaged, {unreadable} "
            f"messages without sense); {effect}. What was lost: vidtok-edge recover"
        )


def _warn(text: str) -> None:
    click.secho(f"warning: {text}", fg="yellow", err=True)


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
    need("This command", "record", ("mcap",))
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
    _warn_of_missing(
        done.broken, done.damaged_bytes, done.unreadable, "behind each, another episode begins"
    )
