"""Cameras to sinks: what is captured is encoded, recorded and accounted for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidtok_edge.errors import OutputExists, RecordingBusy, UsageError
from vidtok_edge.runtime.session.awaited_file import EVERYTHING, AwaitedFile
from vidtok_edge.runtime.session.control import Asked, Control
from vidtok_edge.runtime.session.ladder import Ladder, Rung, is_behind
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.pausing import Pausing
from vidtok_edge.runtime.session.source_streams import SourceStreams
from vidtok_edge.runtime.session.summary import RecordSummary, SourceSummary
from vidtok_edge.runtime.session.systemd import Notifier
from vidtok_edge.runtime.session.track import Track
from vidtok_edge.runtime.sources.capture import Captures
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.events import Captured, Dropped, Ended, Event, Lost, Opened
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.records import Sink

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.audit import Audit
    from vidtok_edge.runtime.session.data_log import DataLog
    from vidtok_edge.runtime.session.parted_file import PartedFile

__all__ = ["Notice", "Recorder", "ShowSummary"]

ShowSummary = Callable[[RecordSummary], None]
Notice = Callable[[str], None]

_LOOK_UP_S = 0.1  # how long `stop` and the clock may go unseen
_SHOW_EVERY_NS = 250_000_000
_USUAL_FPS = 30.0  # of cameras that announce none
_WAITS = (
    "waits for the encoder and is never late, so it takes no step of the ladder; drop its frames "
    "with --queue drop-oldest, or hold it back to its rate with --realtime"
)


class Recorder:
    """One session: source i is slot i of the encoder and source i of the recording.

    A lost camera's stream is finished and its return begins another. A source that ends, also in an
    error, leaves the others running. Everything it keeps is bounded.

    Args:
        captures: of the sources; its owner closes it too.
        encoder: with at least as many slots.
        sinks: given each record in this order, and closed by their owner.
        names: of the sources, for the summary.
        data: what the robot did and was, and the file that takes it, and pictures of an audit.
        parts: the sink whose recording is cut into parts, if one is.
        spare: encoders of other precisions, for the steps of `options.ladder`.
        control: asks it to pause, to go on, or to keep an event, where `parts` keeps such.
        progress: told a few times per second how it goes.
        notice: told in a line when a source is lost, is back, or fails.
    """

    def __init__(
        self,
        captures: Captures,
        encoder: StreamEncoder,
        sinks: Sequence[Sink],
        names: Sequence[str],
        options: RecordOptions | None = None,
        *,
        data: tuple[DataLog, AwaitedFile] | None = None,
        parts: PartedFile | None = None,
        spare: Mapping[str, StreamEncoder] | None = None,
        control: Control | None = None,
        progress: ShowSummary | None = None,
        notice: Notice = lambda line: None,
        clock: Clock = CLOCK,
    ) -> None:
        self._data, self._parts, self._control = data, parts, control or Control()
        self._pausing: Pausing | None = None
        self._captures, self._clock = captures, clock
        self._options, self._progress, self._notice = options or RecordOptions(), progress, notice
        self._audit = _audit(self._options)
        self._streams = SourceStreams(
            encoder, spare or {}, sinks, names, options=self._options, clock=clock
        )
        ladder = self._options.ladder
        self._ladder = None if ladder is None else Ladder(ladder)
        self._steps = 0
        if self._audit is not None and data is None:
            raise UsageError("Pictures go where samples go. Give the session a file for `data`.")
        self._notifier = Notifier()
        self._stop = threading.Event()
        self._begun_ns = self._shown_ns = clock.monotonic_ns()

    def run(self, stop: threading.Event | None = None) -> RecordSummary:
        """Record until all sources have ended, the duration has passed, or `stop` is set.

        Frames captured by then are encoded and every stream is finished. Raises what the encoder
        or a sink raises; the recording then ends before that, with markers that say why.
        """
        self._stop = stop or self._stop
        try:
            reason = self._pump()
            self._notifier.stopping()
            self._captures.close()
            while (event := self._captures.next(0)) is not None:
                self._handle(event)
            self._log_data()
            self._obey()
            for source, track in enumerate(self._streams.tracks):
                if not track.ended:
                    self._end(source, reason, *self._clock.now())
                elif self._parts is not None and self._parts.writing:
                    self._streams.tell_end(track)
        except BaseException as error:
            self._give_up(error)
            raise
        return self.summary()

    def summary(self) -> RecordSummary:
        """What was done so far."""
        latency = self._streams.latency
        return RecordSummary(
            sources=tuple(self._source_summary(track) for track in self._streams.tracks),
            seconds=(self._clock.monotonic_ns() - self._begun_ns) / 1e9,
            latency_p50_ms=latency.quantile_ns(0.5) / 1e6,
            latency_p95_ms=latency.quantile_ns(0.95) / 1e6,
            latency_max_ms=latency.max_ns / 1e6,
            bytes_written=self._streams.safe_bytes,
            channels=() if self._data is None else self._data[0].tally.of_session,
            given_up="" if self._ladder is None else str(self._ladder.rung),
            steps=self._steps,
            events=0 if self._parts is None else self._parts.events,
            paused=self._pausing is not None,
        )

    def _source_summary(self, track: Track) -> SourceSummary:
        found, audit, source = track.summary(), self._audit, track.records.source
        if audit is None:
            return found
        pictures, skipped = audit.pictures[source], audit.skipped[source]
        return replace(found, pictures=pictures, pictures_skipped=skipped)

    def _pump(self) -> str:
        """Handle events until there is a reason to end; the reason."""
        duration_s = self._options.duration_s
        patience_s = min(_LOOK_UP_S, self._options.flush_interval_s / 8)
        streams = self._streams
        while not streams.all_ended:
            now_ns = self._clock.monotonic_ns()
            self._notifier.alive(now_ns)
            if self._stop.is_set():
                return "stopped"
            if duration_s is not None and now_ns - self._begun_ns >= duration_s * 1e9:
                return "duration reached"
            due_s = streams.due_in_s
            event = self._captures.next(
                patience_s if due_s is None else min(patience_s, due_s),
                last=streams.pending,  # their next frame would not wait for others
            )
            if event is not None:
                self._handle(event)
            streams.run_due()
            self._log_data()
            self._obey()
            streams.tick(streams.step_ns)
            if self._parts is not None and self._parts.due(self._clock.monotonic_ns()):
                self._end_part(self._parts)
            self._show()
        return "ended"

    def _end_part(self, file: PartedFile) -> None:
        if file.event_is_over:
            self._drain()
        self._streams.end_part(file.end_detail)
        self._log_data()
        file.end_part()

    def _log_data(self) -> None:
        """Give the file what came of data channels since the last turn."""
        if self._data is not None:
            log, file = self._data
            for logged in log.taken():
                if self._pausing is None or self._pausing.passes(logged.sample):
                    file.log(logged.sample, logged.fields)

    def _obey(self) -> None:
        """Do what was asked since the last turn, and answer it."""
        for asked in self._control.taken():
            try:
                self._do(asked)
            except UsageError as error:
                asked.answer({"ok": False, "error": str(error)})
                if isinstance(error, RecordingBusy | OutputExists):
                    raise  # the disk refused it, and what the ring held is gone
                if asked.unheard:
                    self._notice(f"{asked.why or asked.word}: {error}")
            except BaseException as error:
                asked.answer({"ok": False, "error": _reason(error)})
                raise
            else:
                asked.answer({"ok": True, **self._standing()})

    def _do(self, asked: Asked) -> None:
        """Raises UsageError: it cannot be done now."""
        word = asked.word
        if word == "toggle":
            word = "pause" if self._pausing is None else "resume"
        if word == "pause" and self._pausing is None:
            self._pause()
        elif word == "resume" and self._pausing is not None:
            self._resume(self._pausing)
        elif word == "trigger":
            if self._pausing is not None:
                raise UsageError("The recording is paused, so nothing can be kept. Resume it.")
            if self._parts is None:
                raise UsageError(EVERYTHING)
            self._parts.trigger(asked.why)

    def _standing(self) -> dict[str, Any]:
        """How the session stands, for JSON."""
        done = self.summary()
        facts: dict[str, Any] = {
            "state": "recording",
            "seconds": round(done.seconds, 3),
            "latents": sum(source.latents for source in done.sources),
            "frames_dropped": sum(source.frames_dropped for source in done.sources),
            "bytes": done.bytes_written,
            "given_up": done.given_up,
        }
        if self._parts is not None:
            facts |= self._parts.facts()
        if self._pausing is not None:
            facts["state"] = "paused"
        return facts

    def _drain(self) -> None:
        """Handle what was captured by now and waits, however far the encoder is behind."""
        for event in self._captures.waiting():
            self._handle(event)
        self._log_data()

    def _pause(self) -> None:
        """Finish all streams with what was captured by now; what comes then is left out."""
        self._drain()
        for source, track in enumerate(self._streams.tracks):
            if not track.ended:
                self._streams.finish(source, next_reason="restart")
                self._streams.give([track.records.paused(0, *self._clock.now())])
        self._pausing = Pausing(None if self._data is None else self._data[0].tally)
        self._notice("paused")

    def _resume(self, pausing: Pausing) -> None:
        """Begin anew with what is captured from now on; what waits was captured in the pause."""
        self._drain()
        self._pausing = None
        for track in self._streams.tracks:
            if not track.ended:
                self._tell_pause(track)
        left_out = pausing.told(*self._clock.now())
        if self._data is not None and left_out is not None:
            self._data[1].log(left_out)
        self._notice("recording again")

    def _tell_pause(self, track: Track) -> None:
        """Say how many frames of a source came in the pause that is over."""
        self._streams.give([track.records.paused(track.paused_now, *self._clock.now())])
        track.paused, track.paused_now = track.paused + track.paused_now, 0

    def _handle(self, event: Event) -> None:
        source, track = event.source, self._streams.tracks[event.source]
        if self._ladder is not None and self._pausing is None:
            self._judge(self._ladder, track, event)
        at = event.time_ns, event.wall_time_ns
        if isinstance(event, Captured):
            self._captured(source, track, event)
        elif isinstance(event, Dropped) and self._pausing is not None:
            track.paused_now += event.frames
        elif isinstance(event, Dropped):
            self._streams.drop(source, event)
        elif isinstance(event, Opened):
            track.fps, track.away, track.can_be_late = event.fps, False, event.can_be_late
            if track.reason == "reconnect":
                track.reconnects += 1
                self._notice(f"{track.name} is back")
            if self._ladder is not None and not event.can_be_late:
                self._notice(f"warning: {track.name} {_WAITS}")
        elif isinstance(event, Lost):
            self._streams.finish(source, next_reason="reconnect")
            track.reason = "reconnect"
            if not track.away:  # each attempt that fails is a loss too
                self._streams.give([track.records.lost(event.reason, *at)])
                self._notice(f"{track.name} is lost and will be opened again: {event.reason}")
            track.away = True
        elif isinstance(event, Ended):
            # A pipe that Ctrl-C ended along with us is no error.
            track.error = None if self._stop.is_set() else event.error
            reason = "ended" if event.error is None else _reason(event.error)
            if track.error is not None:
                self._notice(f"{track.name} failed: {reason}")
            self._end(source, reason, *at)
        for doubt in event.doubts:
            self._notice(f"{track.name}: {doubt}")

    def _judge(self, ladder: Ladder, track: Track, event: Event) -> None:
        """Take a step of the ladder where frames of a source come too late, or no more do."""
        if not track.can_be_late or not isinstance(event, Captured | Dropped):
            return
        rung = ladder.rung
        apart_ns = (
            1e9 * rung.every * self._streams.manifest.chunk_frames / (track.fps or _USUAL_FPS)
        )
        now_ns = self._clock.monotonic_ns()
        dropped = isinstance(event, Dropped)
        behind = is_behind(now_ns - event.time_ns, apart_ns, dropped=dropped)
        then = None if behind is None else ladder.look(now_ns, behind=behind)
        if then is not None:
            self._step_to(then)

    def _step_to(self, rung: Rung) -> None:
        self._streams.step_to(rung)
        self._steps += 1
        down = self._ladder is not None and self._ladder.went_down
        what = str(rung) or "as asked for"
        self._notice(f"encoding is late: {what}" if down else f"encoding keeps up: {what}")

    def _captured(self, source: int, track: Track, event: Captured) -> None:
        if event.frame.damaged_before:
            if not track.damaged:
                self._notice(
                    f"{track.name} sends pictures that cannot be decoded: they are left out, and "
                    "counted"
                )
            track.damaged += event.frame.damaged_before
        if self._pausing is not None:
            track.paused_now += 1
        elif self._streams.push(source, event) and self._audit and self._data:
            self._look(self._audit, self._data[1], source, event.frame)

    def _look(self, audit: Audit, file: AwaitedFile, source: int, frame: Frame) -> None:
        """Make a picture of a frame, when one is due and none is late for it."""
        late = self._captures.backlog > 0 and any(
            track.can_be_late for track in self._streams.tracks
        )
        if (picture := audit.look(source, frame, late=late)) is not None:
            file.show(picture)
        if (skipped := audit.told(*self._clock.now())) is not None:
            file.log(skipped)

    def _end(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        self._streams.finish(source, next_reason="start")
        track = self._streams.tracks[source]
        if self._pausing is not None:
            self._tell_pause(track)
        track.ended = reason
        self._streams.give([track.records.end(reason, time_ns, wall_time_ns)])
        track.end_told = self._parts is None or self._parts.writing

    def _give_up(self, error: BaseException) -> None:
        """Say in the recording why it ends; the encoder and the sinks may all be unusable."""
        self._captures.close()
        for track in self._streams.tracks:
            if not track.ended:
                track.ended = f"failed: {_reason(error)}"
                with suppress(Exception):
                    self._streams.give([track.records.end(track.ended, *self._clock.now())])

    def _show(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._progress is not None and now_ns - self._shown_ns >= _SHOW_EVERY_NS:
            self._shown_ns = now_ns
            self._progress(self.summary())


def _audit(options: RecordOptions) -> Audit | None:
    """MissingDependency: pictures without pillow."""
    if options.audit_s is None:
        return None
    from vidtok_edge.runtime.session.audit import Audit

    return Audit(options.audit_s)


def _reason(error: BaseException) -> str:
    """Never empty, as the text of a bare MemoryError is."""
    return str(error) or type(error).__name__
