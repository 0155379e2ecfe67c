"""`join`: what the robot did and was, from a bag, into a recording of cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.options import OutputName, PathName, force_option
from vidtok_edge.commands.printing import frame_bar, need_record, print_columns, warn
from vidtok_edge.commands.terminal import say
from vidtok_edge.errors import UsageError

if TYPE_CHECKING:
    from vidtok_edge.runtime.joining.joining import Joined, Offset

_PATH = PathName()


@click.command()
@click.argument("recording", type=_PATH)
@click.argument("bags", nargs=-1, required=True, type=_PATH, metavar="BAG...")
@click.option("-o", "--output", type=OutputName(), help="The new recording.")
@click.option(
    "--take",
    "takes",
    multiple=True,
    metavar="TOPIC[:FIELD][=NAME]",
    help="What becomes a data channel, as /joint_states:position=state; * and ? in a topic fit "
    "several. Without it the topics and their fields are listed.",
)
@click.option(
    "--offset",
    default="0",
    show_default=True,
    metavar="SECONDS|start",
    help="Added to the bag's times, where its wall clock was another; start: both begin together.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be joined, and write nothing.")
@force_option
def join(
    recording: Path,
    bags: tuple[Path, ...],
    output: Path | None,
    takes: tuple[str, ...],
    offset: str,
    dry_run: bool,
    force: bool,
) -> None:
    """A ROS 2 bag or another MCAP file (.mcap) into a recording, as data channels.

    Of a bag in several files name the folder, or the files.
    The bag's log times and those of the recording are wall clock times: nothing is timed anew.
    """
    need_record()
    from vidtok_edge.runtime.joining.bag_files import BagFiles, bag_files
    from vidtok_edge.runtime.joining.bags import Take
    from vidtok_edge.runtime.joining.joining import join as join_files

    if not takes:
        with BagFiles.open(bag_files(bags)) as found:
            print_columns([("topic", "type", "fields"), *found.outline()])
        raise UsageError("Nothing is taken out of the bag. Say what with --take TOPIC:FIELD=NAME.")
    if output is None and not dry_run:
        raise click.UsageError("Name the new recording with --output, or ask for a --dry-run.")
    with frame_bar("joining, seconds") as progress:
        done = join_files(
            recording,
            bags[0] if len(bags) == 1 else bags,
            None if dry_run else output,
            [Take.parse(take) for take in takes],
            offset=_offset(offset),
            force=force,
            progress=progress,
        )
    _print(done, None if dry_run else output)


def _offset(text: str) -> Offset:
    if text == "start":
        return "start"
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) < 1e10:
        raise click.BadParameter(f"{text!r} is no number of seconds, and not start.")
    return seconds


def _print(done: Joined, output: Path | None) -> None:
    rows = [("channel", "from", "values", "samples")]
    rows += [
        (
            one.facts.name,
            one.facts.origin,
            "events" if one.facts.kind == "events" else str(one.facts.size),
            str(one.samples),
        )
        for one in done.channels
    ]
    print_columns(rows)
    say(
        f"{done.offset_s:+.3f} s were added to the bag's times; {done.common_s:.1f} of "
        f"{done.cameras_s:.1f} s of the cameras have both\n"
        + ("Nothing was written." if output is None else str(output))
    )
    for one in done.channels:
        if one.not_finite:
            warn(f"{one.facts.name}: {one.not_finite} samples hold a NaN or an infinity")
        if one.late:
            warn(f"{one.facts.name}: the time of {one.late} samples goes back")
    if done.clock_set_s:
        warn(
            f"the wall clock of the cameras was set by {done.clock_set_s:+.3f} s while they were "
            "recorded: where the bag's was set with it, what it has from then on lies as much "
            f"beside, and --offset {done.offset_s - done.clock_set_s:.3f} puts that part in place"
        )
    if done.recording_damaged_bytes:
        warn(
            f"{done.recording_damaged_bytes} bytes of the recording are damaged, and not in the "
            "new one; recover says what is lost"
        )
    for what, count in done.left_out.items():
        warn(f"{count} {what} of the recording are damaged or too large, and not in the new one")
    if done.unreadable:
        warn(f"{done.unreadable} messages could not be decoded or lack the field, and are left out")
    if done.damaged_bytes:
        warn(f"{done.damaged_bytes} bytes of the bag are damaged")
