"""`replay`: a recording back to frames."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.options import (
    PathName,
    backend_option,
    bundle_option,
    force_option,
    named,
    precision_option,
    view_option,
)
from vidtok_edge.commands.printing import (
    frame_bar,
    load_bundle,
    need,
    need_record,
    warn,
    warn_of_missing,
)
from vidtok_edge.commands.terminal import say
from vidtok_edge.errors import OutputNotWritable

if TYPE_CHECKING:
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.session.replay import Replayed


@click.command()
@click.argument("recording", type=PathName())
@bundle_option
@click.option(
    "--output",
    "-o",
    callback=named,
    metavar="PATH|-",
    help="A clip (.mp4, .mkv), or - for raw RGB frames on standard output.",
)
@click.option("--source", type=int, default=0, show_default=True, help="Which camera, from 0.")
@click.option("--start", type=float, help="Seconds from the beginning, of a clip on its own clock.")
@click.option(
    "--fast-start",
    type=click.IntRange(1),
    metavar="LATENTS",
    help="Begin to decode so few latents before --start: frames come sooner, and the first are "
    "near to those of decoding everything, not equal.",
)
@click.option("--end", type=float, help="Seconds from the beginning, of a clip on its own clock.")
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
    fast_start: int | None,
    end: float | None,
    fps: float | None,
    backend: str,
    precision: str | None,
    view: str | None,
    force: bool,
) -> None:
    """A recording, or a part of it, back to frames."""
    need_record()
    if output is None and view is None:
        raise click.UsageError("Say where the frames go: --output PATH, or --view to look at them.")
    if output not in ("-", None):
        need("video")
    from vidtok_edge.runtime.session.replay import replay as replay_recording
    from vidtok_edge.runtime.viewing.target import ViewTarget

    if output == "-" and sys.stdout is None:  # it was closed before this program began
        raise OutputNotWritable("There is no standard output. Name a clip with --output.")
    loaded = load_bundle(bundle)
    with frame_bar("decoding") as progress:
        done = replay_recording(
            recording,
            loaded,
            sys.stdout.buffer if output == "-" else output,
            source=source,
            start_s=start,
            end_s=end,
            fast_start=fast_start,
            fps=fps,
            backend=backend,
            precision=precision,
            force=force,
            view=ViewTarget.parse(view) if view else None,
            progress=progress,
        )
    place = "" if output in ("-", None) else f"\n{output}"
    say(
        f"{done.frames} frames at {done.fps:g} fps, {done.streams} streams{place}",
        err=output == "-",
    )
    if fast_start is not None:
        say(_nearness(loaded, fast_start), err=output == "-")
    if done.doubt is not None:
        warn(f"{done.doubt}; --fps N plays it at another rate")
    if output is not None and (note := _shortened(done)):
        warn(note)
    if done.others:
        warn(
            f"source {source} was played, of {len(done.others) + 1}; --source N plays "
            f"{', '.join(done.others)}"
        )
    warn_of_missing(
        done.broken,
        done.damaged_bytes,
        done.unreadable,
        "the frames after each are near to what was encoded, not equal",
    )
    if done.cut_off:
        why = "it is still being recorded to" if done.growing else "the recording was cut off"
        warn(f"the end of the source is missing: {why}")


def _shortened(done: Replayed) -> str:
    """What to know where the clip is much shorter than what was recorded."""
    lasts_s = (done.frames - 1) / done.fps
    if done.recorded_s <= max(1.1 * lasts_s, lasts_s + 0.5):
        return ""
    return (
        f"the frames were recorded in {done.recorded_s:.1f} s, and the clip lasts {lasts_s:.1f} s: "
        "nothing stands for those that were dropped or left out"
    )


def _nearness(bundle: Bundle, lead: int) -> str:
    """What the first frames are worth where decoding began so many latents before."""
    reach = bundle.manifest.reach("decoder")
    if reach is None:
        return "everything was decoded: the bundle does not say how far its decoder remembers"
    if lead >= reach + 2:
        return "the decoder remembers no more: every frame is that of decoding everything"
    measured = [entry for entry in bundle.manifest.entries if entry.lead <= lead]
    if not measured:
        return "how near the first frames are was not measured when the bundle was verified"
    best = measured[-1]
    return (
        f"decoded from {lead} latents before on: with {best.lead} the first frames had "
        f"{best.psnr_db:g} dB against decoding everything, on the robot clip"
    )
