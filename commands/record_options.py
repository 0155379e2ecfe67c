"""The options of `record` by what they are about, and what those that belong together mean."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.options import ByteCount, Size, fit_option, named, view_option
from vidtok_edge.commands.sections import section

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.ladder import LadderPlan
    from vidtok_edge.runtime.session.trigger import TriggerPlan

source_options = section(
    "Sources",
    fit_option,
    click.option(
        "--fps",
        type=click.FloatRange(0, min_open=True),
        help="Rate of images and raw frames; of video files: sample them at about that rate.",
    ),
    click.option(
        "--raw", type=Size(), help="Size of the frames in pipes.  [default: the bundle's]"
    ),
    click.option(
        "--raw-format",
        metavar="FORMAT",
        help="Of the frames in pipes: rgb24, bgr24, rgba, bgra, gray, nv12, yuv420p or yuyv422.  "
        "[default: rgb24]",
    ),
    click.option(
        "--raw-stride",
        type=click.IntRange(min=1),
        metavar="BYTES",
        help="From row to row of the frames in pipes.  [default: no padding]",
    ),
    click.option("--realtime", is_flag=True, help="Hold files and pipes back to their own rate."),
)

late_options = section(
    "Where encoding is late",
    click.option(
        "--queue",
        type=click.Choice(["block", "drop-oldest", "drop-newest"]),
        help="What a full queue does.  [default: drop-oldest for cameras, else block]",
    ),
    click.option(
        "--capacity",
        type=click.IntRange(1),
        help="Frames in the queue of a source.  [default: two chunks, at least 8]",
    ),
    click.option(
        "--on-drop",
        type=click.Choice(["continue", "restart"]),
        default="continue",
        show_default=True,
        help="Whether a stream goes on behind a gap, or a new one begins.",
    ),
    click.option(
        "--on-late",
        type=click.Choice(["drop", "step-down"]),
        default="drop",
        show_default=True,
        help="Where encoding is behind: frames go, as --queue says, or also a step of --ladder is "
        "taken.",
    ),
    click.option(
        "--ladder",
        metavar="STEP,...",
        help="What is given up, one after another: int8 or fp16, half-rate, third-rate or "
        "quarter-rate.",
    ),
    click.option(
        "--late-after",
        type=click.FloatRange(0.1),
        metavar="SECONDS",
        help="A step down is taken when encoding was behind for so long.  [default: 2]",
    ),
    click.option(
        "--climb-after",
        type=click.FloatRange(0.1),
        metavar="SECONDS",
        help="A step up is taken when it was not for so long.  [default: 30]",
    ),
    click.option(
        "--batch-wait",
        type=click.FloatRange(0),
        metavar="MS",
        help="How long a source waits for the others of its batch.  "
        "[default: until its own next frame]",
    ),
)

file_options = section(
    "The recording",
    click.option(
        "--key-interval",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="Begin a new stream that often: a replay from there decodes nothing before it.",
    ),
    click.option(
        "--flush-interval",
        type=click.FloatRange(0, 3600, min_open=True),
        default=1.0,
        show_default=True,
        metavar="SECONDS",
        help="What a killed process may lose.",
    ),
    click.option(
        "--compression",
        type=click.Choice(["zstd", "lz4", "none"]),
        default="zstd",
        show_default=True,
        help="Of the file's chunks, each of which is what one flush writes.",
    ),
    click.option(
        "--code",
        type=click.Choice(["packed", "entropy"]),
        default="packed",
        show_default=True,
        help="Of tokens: each at its width, or all in half to two thirds of that, for a few "
        "milliseconds of a core per latent. Toolkits up to 0.2 do not read it.",
    ),
    click.option(
        "--audit",
        type=click.FloatRange(0.1, 1e6),
        metavar="SECONDS",
        help="Put a small JPEG of each camera into the recording that often, for people.",
    ),
)

parts_options = section(
    "Parts",
    click.option(
        "--split-size",
        type=ByteCount(),
        metavar="SIZE",
        help="Cut the recording into parts of at most that size, as 500MB; each opens alone.",
    ),
    click.option(
        "--split-minutes",
        type=click.FloatRange(0, min_open=True),
        metavar="MINUTES",
        help="Cut it into parts of that length.",
    ),
    click.option(
        "--keep-bytes",
        type=ByteCount(),
        metavar="SIZE",
        help="The oldest finished parts go when all have more, as 20GB.",
    ),
    click.option(
        "--keep-free",
        type=ByteCount(),
        metavar="SIZE",
        help="They also go when the disk has less free.",
    ),
)

event_options = section(
    "Events",
    click.option(
        "--trigger",
        is_flag=True,
        help="Write events alone: what lies around a moment, each in a file of its own. A moment "
        "is said by SIGUSR1, by --control, or by --trigger-when.",
    ),
    click.option(
        "--before",
        type=click.FloatRange(0, 3600),
        metavar="SECONDS",
        help="Of an event, before what triggers it: held in memory until then.  [default: 10]",
    ),
    click.option(
        "--after",
        type=click.FloatRange(0, 3600),
        metavar="SECONDS",
        help="Of an event, after the last thing that triggers it.  [default: 10]",
    ),
    click.option(
        "--trigger-when",
        multiple=True,
        metavar="COMPARISON",
        help="A number of a data channel that triggers, as 'estop>0.5' or 'arm/force[2]<=-30'.",
    ),
    click.option(
        "--ring-size",
        type=ByteCount(),
        metavar="SIZE",
        help="At most so much memory holds what lies before.  [default: 64MB]",
    ),
)

robot_options = section(
    "Beside the cameras",
    click.option(
        "--data",
        multiple=True,
        callback=named,
        metavar="INPUT",
        help='Lines of JSON beside the cameras, as {"channel": "action", "values": [0.1, 0.2]} or '
        '{"channel": "task", "event": "open"}: a pipe, a file, - or unix:PATH for a socket that is '
        "made there.",
    ),
    click.option(
        "--control",
        metavar="unix:PATH",
        help="A socket that is made there, for you alone: lines trigger, pause, resume and status, "
        "each answered in a line of JSON.",
    ),
)

view_options = section(
    "Viewer",
    view_option,
    click.option(
        "--view-decoded",
        is_flag=True,
        help="Show reconstructions too; decoding takes time from the encoder.",
    ),
)


def moments_of(
    trigger: bool,
    before: float | None,
    after: float | None,
    when: tuple[str, ...],
    ring_size: int | None,
) -> TriggerPlan | None:
    """Which moments are kept; None: everything is recorded."""
    from vidtok_edge.runtime.session.trigger import TriggerPlan, TriggerWhen

    if not trigger:
        if when or any(one is not None for one in (before, after, ring_size)):
            raise click.UsageError(
                "--before, --after, --trigger-when and --ring-size are of events. Add --trigger, "
                "with which nothing else is written."
            )
        return None
    plan = TriggerPlan(when=tuple(map(TriggerWhen.parse, when)))
    return replace(
        plan,
        before_s=plan.before_s if before is None else before,
        after_s=plan.after_s if after is None else after,
        ring_bytes=ring_size or plan.ring_bytes,
    )


def steps_of(
    on_late: str, ladder: str | None, late_after: float | None, climb_after: float | None
) -> LadderPlan | None:
    """What is given up where encoding is behind; None: frames alone."""
    from vidtok_edge.runtime.session.ladder import LadderPlan

    if on_late == "drop":
        if any(one is not None for one in (ladder, late_after, climb_after)):
            raise click.UsageError(
                "--ladder, --late-after and --climb-after are of --on-late step-down. Add that."
            )
        return None
    if ladder is None:
        raise click.UsageError(
            "--on-late step-down takes the steps of --ladder. Name them, as int8,half-rate."
        )
    plan = LadderPlan(rungs=LadderPlan.rungs_of(ladder))
    return replace(
        plan,
        late_after_s=plan.late_after_s if late_after is None else late_after,
        climb_after_s=plan.climb_after_s if climb_after is None else climb_after,
    )
