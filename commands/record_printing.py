"""What `record` prints: its plan, how it stands, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidtok_edge.commands.printing import print_columns, warn
from vidtok_edge.commands.terminal import say

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.request import RecordRequest
    from vidtok_edge.runtime.session.samples import ChannelCounts
    from vidtok_edge.runtime.session.summary import RecordSummary

__all__ = ["print_summary", "show_plan", "status_of"]


def show_plan(request: RecordRequest) -> None:
    """Open the sources, and say what would be recorded."""
    from vidtok_edge.runtime.sources.frame import without_password
    from vidtok_edge.runtime.sources.opening import source_kind

    request.check()
    manifest = request.bundle.manifest
    rows = [("source", "kind", "frames/s", "when the queue is full")]
    for spec in request.sources:
        source = request.opener(spec)
        policy = request.policy or ("drop-oldest" if source.live else "block")
        rate = "unknown" if source.fps is None else f"{source.fps:g}"
        rows.append((without_password(spec), source_kind(spec), rate, policy))
        source.close()
    print_columns(rows)
    say(
        f"{manifest.model.variant}, {manifest.height}x{manifest.width}, {len(request.sources)} of "
        f"{manifest.streams} slots -> {request.output}"
    )
    if (plan := request.trigger) is not None:
        every_s = request.session_options.key_interval_s or 0
        say(
            f"events alone: from a key {plan.before_s:g} to {plan.before_s + every_s:g} s before "
            f"a trigger to {plan.after_s:g} s after; at most {plan.ring_bytes / 1e6:.1f} MB of "
            "memory hold what lies before"
        )
    if (ladder := request.options.ladder) is not None:
        steps = "; then ".join(str(rung) for rung in ladder.rungs[1:])
        say(
            f"where encoding is behind for {ladder.late_after_s:g} s: {steps}; back after "
            f"{ladder.climb_after_s:g} s without"
        )
    say("Nothing was written.")


def status_of(done: RecordSummary) -> str:
    """One line, while it runs."""
    latents = sum(s.latents for s in done.sources)
    drops = sum(s.frames_dropped for s in done.sources)
    events = f"  {done.events} events" if done.events else ""
    paused = "  paused" if done.paused else ""
    if done.given_up:
        paused += f"  late: {done.given_up}"
    away = "".join(f"  {s.name} is away" for s in done.sources if s.away)
    return (
        f"{done.seconds:6.0f} s  {latents} latents  {drops} dropped  latency "
        f"{done.latency_p50_ms:.0f} ms, p95 {done.latency_p95_ms:.0f} ms{events}{paused}{away}"
    )


def _print_channels(channels: Sequence[ChannelCounts]) -> None:
    paused, early = any(one.paused for one in channels), any(one.no_frame for one in channels)
    titles = ["channel", "samples", "not finite", "refused", "no room"]
    rows = [(*titles, *["paused"] * paused, *["no frame"] * early)]
    for one in channels:
        counts = (
            one.samples,
            one.not_finite,
            one.refused,
            one.no_room,
            *[one.paused] * paused,
            *[one.no_frame] * early,
        )
        rows.append((one.name, *map(str, counts)))
    print_columns(rows)


def print_summary(done: RecordSummary, output: Path) -> None:
    """What was recorded, and what was not."""
    if not done.bytes_written:
        paused = any(source.frames_paused for source in done.sources)
        why = "paused all the time" if paused else "stopped before the first frame"
        say(f"{why}: nothing was recorded")
        return
    paused = any(s.frames_paused for s in done.sources)
    titles = ["source", "captured", "encoded", "dropped", *["paused"] * paused]
    rows = [(*titles, "latents", "streams", "reconnects", "seconds", "ended")]
    for s in done.sources:
        counts = (
            s.frames_captured,
            s.frames_encoded,
            s.frames_dropped,
            *[s.frames_paused] * paused,
            s.latents,
            s.streams,
            s.reconnects,
        )
        why = s.ended if s.error is None else "error"
        rows.append((s.name, *map(str, counts), f"{s.seconds:.1f}", why))
    print_columns(rows)
    if done.channels:
        _print_channels(done.channels)
    if done.events:
        say(f"{done.events} events")
    say(
        f"latency of a latent: p50 {done.latency_p50_ms:.1f} ms, p95 {done.latency_p95_ms:.1f} ms, "
        f"max {done.latency_max_ms:.1f} ms\n{done.bytes_written / 1e6:.2f} MB in "
        f"{done.seconds:.1f} s\n{output}"
    )
    if done.steps:
        say(
            f"{done.steps} steps of the ladder were taken, and at reduced rates "
            f"{sum(s.frames_thinned for s in done.sources)} frames were left out"
        )
    if (pictures := sum(s.pictures for s in done.sources)) or any(
        s.pictures_skipped for s in done.sources
    ):
        say(f"{pictures} pictures to look at")
    for s in done.sources:
        if s.frames_damaged:
            warn(
                f"{s.frames_damaged} pictures of {s.name} could not be decoded, and are not in the "
                "recording; the times of its frames show where"
            )
        if s.pictures_skipped:
            warn(f"{s.pictures_skipped} pictures of {s.name} were skipped: frames waited")
        if s.error is None and not s.frames_captured:
            warn(f"source {s.name} gave no frame")
    if done.not_shown:
        warn(
            f"{done.not_shown} frames and latents were not shown, because the viewer was too slow "
            "or gone; the recording has them"
        )
