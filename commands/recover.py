"""`recover`: a damaged recording to one that is whole."""

from __future__ import annotations

from pathlib import Path

import click

from vidtok_edge.commands.options import (
    PathName,
    force_option,
    output_option,
)
from vidtok_edge.commands.printing import frame_bar, need_record
from vidtok_edge.commands.terminal import say
from vidtok_edge.errors import CheckFailed


@click.command()
@click.argument("recording", type=PathName())
@output_option
@force_option
def recover(recording: Path, output: Path, force: bool) -> None:
    """A recording that was cut off or damaged to one that is whole.

    Says what was lost. Exit codes: 0 nothing was lost; 1 something was; 3 nothing can be read.
    """
    need_record()
    from vidtok_edge.runtime.recording.recovery import recover as recover_recording

    with frame_bar("recovering, seconds") as progress:
        found = recover_recording(recording, output, force=force, progress=progress)
    for line in (*found.lines(), str(output)):
        say(line)
    if found.growing:
        raise CheckFailed(f"{recording} is still being recorded to; what it held is in {output}")
    if not found:
        raise CheckFailed(f"something of {recording} was lost; what is left is in {output}")
