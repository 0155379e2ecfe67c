"""`record`: cameras to a recording."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.options import (
    backend_option,
    bundle_option,
    force_option,
    named,
    output_option,
    precision_option,
    threads_option,
)
from vidtok_edge.commands.printing import load_bundle, need_record, print_checks
from vidtok_edge.commands.record_options import (
    event_options,
    file_options,
    late_options,
    moments_of,
    parts_options,
    robot_options,
    source_options,
    steps_of,
    view_options,
)
from vidtok_edge.commands.record_printing import print_summary, show_plan, status_of
from vidtok_edge.commands.sections import SectionedCommand
from vidtok_edge.commands.status_line import StatusLine, to_stderr
from vidtok_edge.commands.terminal import say, screen
from vidtok_edge.errors import OutputNotWritable

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.mcap_file import Code, Compression
    from vidtok_edge.runtime.session.request import RecordRequest


_WORDS = f"{__name__}.words"


class _Command(SectionedCommand):
    """Keeps the words of its command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)


@click.command(cls=_Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", callback=named)
@bundle_option
@output_option
@backend_option
@precision_option
@threads_option
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Stop after that time.",
)
@force_option
@click.option("--dry-run", is_flag=True, help="Open the sources, say what would be recorded.")
@click.option(
    "--check",
    is_flag=True,
    help="Record nothing: hold the machine, its disk and clock, each camera and the encoder to "
    "what this recording needs; exit 1 where one is not so.",
)
@click.option(
    "--systemd",
    is_flag=True,
    help="Record nothing: print a unit of systemd that records so from boot on.",
)
@source_options
@late_options
@file_options
@parts_options
@event_options
@robot_options
@view_options
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
    batch_wait: float | None,
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
    from vidtok_edge.runtime.session.parts import PartsPlan
    from vidtok_edge.runtime.session.parts_index import index_of
    from vidtok_edge.runtime.session.record import record as record_sources
    from vidtok_edge.runtime.session.request import RecordRequest
    from vidtok_edge.runtime.session.session_signals import control_on_signals, stop_on_signals
    from vidtok_edge.runtime.sources.frame import RawFormat
    from vidtok_edge.runtime.viewing.target import ViewTarget

    if view_decoded and view is None:
        raise click.UsageError("--view-decoded says what to show; say where with --view.")
    moments = moments_of(trigger, before, after, trigger_when, ring_size)
    steps = steps_of(on_late, ladder, late_after, climb_after)
    if trigger_when and not data:
        raise click.UsageError("--trigger-when compares data, and no --data gives any.")
    status = StatusLine(to_stderr, screen().isatty())
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
                batch_wait_s=None if batch_wait is None else batch_wait / 1000,
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
        if systemd + dry_run + check > 1:
            raise click.UsageError("--dry-run, --check and --systemd: give one of them.")
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
