"""`record`: cameras to a recording."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.options import (
    ByteCount,
    Size,
    backend_option,
    bundle_option,
    fit_option,
    force_option,
    output_option,
    precision_option,
    threads_option,
    view_option,
)
from vidtok_edge.commands.printing import load_bundle, need_record, print_checks
from vidtok_edge.commands.record_printing import print_summary, show_plan, status_of
from vidtok_edge.commands.status_line import StatusLine, to_stderr
from vidtok_edge.commands.terminal import say
from vidtok_edge.errors import OutputNotWritable

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.mcap_file import Code, Compression
    from vidtok_edge.runtime.session.ladder import LadderPlan
    from vidtok_edge.runtime.session.record import RecordRequest
    from vidtok_edge.runtime.session.trigger import TriggerPlan


_WORDS = f"{__name__}.words"


class _Command(click.Command):
    """Keeps the words of its command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)


@click.command(cls=_Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@bundle_option
@output_option
@backend_option
@precision_option
@threads_option
@click.option(
    "--queue",
    type=click.Choice(["block", "drop-oldest", "drop-newest"]),
    help="What a full queue does.  [default: drop-oldest for cameras, else block]",
)
@click.option(
    "--capacity",
    type=click.IntRange(1),
    help="Frames in the queue of a source.  [default: two chunks, at least 8]",
)
@click.option(
    "--on-drop",
    type=click.Choice(["continue", "restart"]),
    default="continue",
    show_default=True,
    help="Whether a stream goes on behind a gap, or a new one begins.",
)
@click.option(
    "--on-late",
    type=click.Choice(["drop", "step-down"]),
    default="drop",
    show_default=True,
    help="Where encoding is behind: frames go, as --queue says, or also a step of --ladder is "
    "taken.",
)
@click.option(
    "--ladder",
    metavar="STEP,...",
    help="What is given up, one after another: int8 or fp16, half-rate, third-rate or "
    "quarter-rate.",
)
@click.option(
    "--late-after",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="A step down is taken when encoding was behind for so long.  [default: 2]",
)
@click.option(
    "--climb-after",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="A step up is taken when it was not for so long.  [default: 30]",
)
@click.option("--realtime", is_flag=True, help="Hold files and pipes back to their own rate.")
@click.option(
    "--deadline",
    type=click.FloatRange(0),
    metavar="MS",
    help="How long a source waits for the others of its batch.  "
    "[default: until its own next frame]",
)
@click.option(
    "--key-interval",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Begin a new stream that often: a replay from there decodes nothing before it.",
)
@click.option(
    "--flush-interval",
    type=click.FloatRange(0, 3600, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="What a killed process may lose.",
)
@click.option(
    "--compression",
    type=click.Choice(["zstd", "lz4", "none"]),
    default="zstd",
    show_default=True,
    help="Of the file's chunks, each of which is what one flush writes.",
)
@click.option(
    "--code",
    type=click.Choice(["packed", "entropy"]),
    default="packed",
    show_default=True,
    help="Of tokens: each at its width, or all in half to two thirds of that, for a few "
    "milliseconds of a core per latent. Toolkits up to 0.2 do not read it.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Stop after that time.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    help="Rate of images and raw frames; of video files: sample them at about that rate.",
)
@click.option("--raw", type=Size(), help="Size of the frames in pipes.  [default: the bundle's]")
@click.option(
    "--raw-format",
    metavar="FORMAT",
    help="Of the frames in pipes: rgb24, bgr24, rgba, bgra, gray, nv12, yuv420p or yuyv422.  "
    "[default: rgb24]",
)
@click.option(
    "--raw-stride",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="From row to row of the frames in pipes.  [default: no padding]",
)
@click.option(
    "--split-size",
    type=ByteCount(),
    metavar="SIZE",
    help="Cut the recording into parts of at most that size, as 500MB; each opens alone.",
)
@click.option(
    "--split-minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="Cut it into parts of that length.",
)
@click.option(
    "--keep-bytes",
    type=ByteCount(),
    metavar="SIZE",
    help="The oldest finished parts go when all have more, as 20GB.",
)
@click.option(
    "--keep-free",
    type=ByteCount(),
    metavar="SIZE",
    help="They also go when the disk has less free.",
)
@click.option(
    "--audit",
    type=click.FloatRange(0.1, 1e6),
    metavar="SECONDS",
    help="Put a small JPEG of each camera into the recording that often, for people.",
)
@click.option(
    "--trigger",
    is_flag=True,
    help="Write events alone: what lies around a moment, each in a file of its own. A moment is "
    "said by SIGUSR1, by --control, or by --trigger-when.",
)
@click.option(
    "--before",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    help="Of an event, before what triggers it: held in memory until then.  [default: 10]",
)
@click.option(
    "--after",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    help="Of an event, after the last thing that triggers it.  [default: 10]",
)
@click.option(
    "--trigger-when",
    multiple=True,
    metavar="COMPARISON",
    help="A number of a data channel that triggers, as 'estop>0.5' or 'arm/force[2]<=-30'.",
)
@click.option(
    "--ring-size",
    type=ByteCount(),
    metavar="SIZE",
    help="At most so much memory holds what lies before.  [default: 64MB]",
)
@click.option(
    "--control",
    metavar="unix:PATH",
    help="A socket that is made there, for you alone: lines trigger, pause, resume and status, "
    "each answered in a line of JSON.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="INPUT",
    help='Lines of JSON beside the cameras, as {"channel": "action", "values": [0.1, 0.2]} or '
    '{"channel": "task", "event": "open"}: a pipe, a file, - or unix:PATH for a socket that is '
    "made there.",
)
@fit_option
@view_option
@click.option(
    "--view-decoded",
    is_flag=True,
    help="Show reconstructions too; decoding takes time from the encoder.",
)
@force_option
@click.option("--dry-run", is_flag=True, help="Open the sources, say what would be recorded.")
@click.option(
    "--systemd",
    is_flag=True,
    help="Record nothing: print a unit of systemd that records so from boot on.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Record nothing: hold the machine, its disk and clock, each camera and the encoder to "
    "what this recording needs; exit 1 where one is not so.",
)
def record(
    sources: tuple[str, ...],
    bundle: Path,
    output: Path,
    backend: str,
    precision: str | None,
    threads: int | None,
    queue: Literal["block", "drop-oldest", "drop-newest"] | None,
    capacity: int | None,
    on_drop: Literal["continue", "restart"],
    on_late: Literal["drop", "step-down"],
    ladder: str | None,
    late_after: float | None,
    climb_after: float | None,
    realtime: bool,
    deadline: float | None,
    key_interval: float | None,
    flush_interval: float,
    compression: Compression,
    code: Code,
    duration: float | None,
    fps: float | None,
    raw: tuple[int, int] | None,
    raw_format: str | None,
    raw_stride: int | None,
    split_size: int | None,
    split_minutes: float | None,
    keep_bytes: int | None,
    keep_free: int | None,
    audit: float | None,
    trigger: bool,
    before: float | None,
    after: float | None,
    trigger_when: tuple[str, ...],
    ring_size: int | None,
    control: str | None,
    data: tuple[str, ...],
    fit: Literal["crop", "letterbox"],
    view: str | None,
    view_decoded: bool,
    force: bool,
    dry_run: bool,
    systemd: bool,
    check: bool,
) -> None:
    """Cameras, files or a pipe to a recording (.mcap), until Ctrl-C.

    A SOURCE is a video file, a folder of images, rtsp://..., /dev/video0, - for Y4M or raw frames
    on standard input, or synthetic:30. Several are encoded in one batch. SIGUSR2 pauses, and goes
    on.
    """
    need_record()
    from vidtok_edge.runtime.session.options import RecordOptions
    from vidtok_edge.runtime.session.parts import PartsPlan, index_of
    from vidtok_edge.runtime.session.record import (
        RecordRequest,
        control_on_signals,
        stop_on_signals,
    )
    from vidtok_edge.runtime.session.record import record as record_sources
    from vidtok_edge.runtime.sources.frame import RawFormat
    from vidtok_edge.runtime.viewing.target import ViewTarget

    if view_decoded and view is None:
        raise click.UsageError("--view-decoded says what to show; say where with --view.")
    moments = _moments(trigger, before, after, trigger_when, ring_size)
    steps = _steps(on_late, ladder, late_after, climb_after)
    if trigger_when and not data:
        raise click.UsageError("--trigger-when compares data, and no --data gives any.")
    status = StatusLine(to_stderr, sys.stderr.isatty())
    with stop_on_signals() as stop, control_on_signals() as asked, status:
        loaded = load_bundle(bundle)
        raw_frames = None
        if raw is not None or raw_format is not None or raw_stride is not None:
            size = raw or (loaded.manifest.height, loaded.manifest.width)
            raw_frames = RawFormat(*size, raw_format or "rgb24", raw_stride)
        request = RecordRequest(
            bundle=loaded,
            sources=sources,
            output=output,
            backend=backend,
            precision=precision,
            threads=threads,
            policy=queue,
            capacity=capacity,
            fit=fit,
            realtime=realtime,
            raw=raw_frames,
            fps=fps,
            force=force,
            options=RecordOptions(
                on_drop=on_drop,
                deadline_s=None if deadline is None else deadline / 1000,
                key_interval_s=key_interval,
                duration_s=duration,
                flush_interval_s=flush_interval,
                audit_s=audit,
                ladder=steps,
                compression=compression,
                code=code,
            ),
            data=data,
            parts=PartsPlan(
                split_bytes=split_size,
                split_s=None if split_minutes is None else split_minutes * 60,
                keep_bytes=keep_bytes,
                keep_free_bytes=keep_free,
                events=trigger,
            ),
            trigger=moments,
            control=control,
            view=ViewTarget.parse(view) if view else None,
            view_decoded=view_decoded,
        )
        if systemd:
            return _show_unit(request)
        if dry_run:
            return show_plan(request)
        if check:
            return _check(request, status)
        done = record_sources(
            request,
            stop=stop,
            control=asked,
            progress=lambda done: status.show(status_of(done)),
            notice=status.note,
        )
    with suppress(OutputNotWritable):  # a terminal that closes is a way to end a recording
        if trigger and not done.events:
            say("nothing triggered: no event was kept")
            return
        print_summary(done, index_of(output) if request.parts.splits else output)
    for source in done.sources:
        if source.error is not None:
            raise source.error


def _moments(
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


def _steps(
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


def _show_unit(request: RecordRequest) -> None:
    from vidtok_edge.runtime.session.systemd import unit_of

    if not request.parts.splits:
        raise click.UsageError(
            "A service is started anew, also after a crash, and then goes on with a recording in "
            "parts. Add --split-minutes or --split-size."
        )
    if "-" in (*request.sources, *request.data):
        raise click.UsageError("A service has no standard input. Name a pipe (mkfifo).")
    words = click.get_current_context().meta[_WORDS]
    arguments = [word for word in words if word != "--systemd"]
    say(unit_of(arguments, user=getpass.getuser(), folder=os.getcwd()).rstrip())


def _check(request: RecordRequest, status: StatusLine) -> None:
    from vidtok_edge.runtime.session.preflight import preflight

    checks = list(preflight(request, told=lambda what: status.show(f"looking at {what}")))
    print_checks(checks)
