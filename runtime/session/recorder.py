"""Cameras to sinks: what is captured is encoded, recorded and accounted for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.session.awaited_file import EVERYTHING, AwaitedFile
from vidtok_edge.runtime.session.control import Asked, Control
from vidtok_edge.runtime.session.ladder import Ladder, Rung, is_behind
from vidtok_edge.runtime.session.latency import LatencyHistogram
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.pausing import Pausing
from vidtok_edge.runtime.session.summary import RecordSummary, SourceSummary
from vidtok_edge.runtime.session.systemd import Notifier
from vidtok_edge.runtime.session.track import Track
from vidtok_edge.runtime.sources.capture import Captures
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.events import Captured, Dropped, Ended, Event, Lost, Opened
from vidtok_edge.runtime.sources.frame import Frame, without_password
from vidtok_edge.runtime.streaming.batching import Batching
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.records import Record, Sink, SourceRecords, StartReason

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.audit import Audit
    from vidtok_edge.runtime.session.data_log import DataLog
    from vidtok_edge.runtime.session.parts import PartedFile

__all__ = ["Notice", "Recorder", "ShowSummary"]

ShowSummary = Callable[[RecordSummary], None]
Notice = Callable[[str], None]

_LOOK_UP_S = 0.1  # how long `stop` and the clock may go unseen
_SHOW_EVERY_NS = 250_000_000
_USUAL_FPS = 30.0  # of cameras that announce none


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
        self._fields: dict[str, Sequence[str]] = {}
        """What values are called of channels that began in a pause."""
        self._captures, self._sinks, self._clock = captures, sinks, clock
        self._options, self._progress, self._notice = options or RecordOptions(), progress, notice
        self._audit = _audit(self._options)
        encoders: dict[str | None, StreamEncoder] = {None: encoder}
        encoders.update(dict(spare or {}))
        self._batchings = {
            precision: Batching(one, self._options.deadline_s, clock.monotonic_ns)
            for precision, one in encoders.items()
        }
        self._batching = self._batchings[None]
        ladder = self._options.ladder
        self._ladder = None if ladder is None else Ladder(ladder)
        self._steps = 0
        self._manifest, self._framing = encoder.manifest, encoder.framing
        self._tracks = [
            Track(name=without_password(name), records=SourceRecords(source))
            for source, name in enumerate(names)
        ]
        if self._audit is not None and data is None:
            raise UsageError("Pictures go where samples go. Give the session a file for `data`.")
        self._latency = LatencyHistogram()
        self._notifier = Notifier()
        self._stop = threading.Event()
        self._step_ns = 0
        """What the last call of the graph took; the next one may be due at once."""
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
            for source, track in enumerate(self._tracks):
                if not track.ended:
                    self._end(source, reason, *self._clock.now())
                else:
                    self._tell_end(track)
        except BaseException as error:
            self._give_up(error)
            raise
        return self.summary()

    def summary(self) -> RecordSummary:
        """What was done so far."""
        latency = self._latency
        return RecordSummary(
            sources=tuple(self._source_summary(track) for track in self._tracks),
            seconds=(self._clock.monotonic_ns() - self._begun_ns) / 1e9,
            latency_p50_ms=latency.quantile_ns(0.5) / 1e6,
            latency_p95_ms=latency.quantile_ns(0.95) / 1e6,
            latency_max_ms=latency.max_ns / 1e6,
            bytes_written=sum(sink.safe_bytes for sink in self._sinks),
            channels=() if self._data is None else self._data[0].counts,
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
        while not all(track.ended for track in self._tracks):
            now_ns = self._clock.monotonic_ns()
            self._notifier.alive(now_ns)
            if self._stop.is_set():
                return "stopped"
            if duration_s is not None and now_ns - self._begun_ns >= duration_s * 1e9:
                return "duration reached"
            due_s = self._batching.due_in_s()
            event = self._captures.next(
                patience_s if due_s is None else min(patience_s, due_s),
                last=self._batching.encoder.pending,  # their next frame would not wait for others
            )
            if event is not None:
                self._handle(event)
            self._encode(self._batching.run_due)
            self._log_data()
            self._obey()
            self._tick(self._step_ns)
            if self._parts is not None and self._parts.due(self._clock.monotonic_ns()):
                self._end_part(self._parts)
            self._show()
        return "ended"

    def _end_part(self, file: PartedFile) -> None:
        """Finish all streams in this part; the next frame of each source begins one in the next.

        Nothing in a part then needs another part, and no part says that something is missing
        which lies before it.
        """
        if file.event_is_over:
            self._drain()
        for source, track in enumerate(self._tracks):
            if track.ended:
                self._tell_end(track)
                track.end_told = False
            else:
                reason = track.reason if not track.running else "key"
                self._finish(source, next_reason=reason)
                self._give([track.records.end(file.end_detail, *self._clock.now())])
            track.earlier += track.records.latents
            track.earlier_streams += track.records.streams
            track.records = SourceRecords(source)
        self._log_data()
        file.end_part()

    def _tell_end(self, track: Track) -> None:
        """Say in a part of after that a source has ended, so that nothing is missing in it."""
        if not track.end_told and self._parts is not None and self._parts.writing:
            self._give([track.records.end(track.ended, *self._clock.now())])
            track.end_told = True

    def _log_data(self) -> None:
        """Give the file what came of data channels since the last turn."""
        if self._data is not None:
            log, file = self._data
            for logged in log.taken():
                name, fields = logged.sample.channel, logged.fields
                if self._pausing is not None and not self._pausing.passes(logged):
                    self._fields[name] = fields or self._fields.get(name, ())
                    continue
                file.log(logged.sample, fields or self._fields.pop(name, ()))

    def _obey(self) -> None:
        """Do what was asked since the last turn, and answer it."""
        for asked in self._control.taken():
            try:
                self._do(asked)
            except UsageError as error:
                asked.answer({"ok": False, "error": str(error)})
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
        for _ in range(self._captures.backlog):
            if (event := self._captures.next(0)) is not None:
                self._handle(event)
        self._log_data()

    def _pause(self) -> None:
        """Finish all streams with what was captured by now; what comes then is left out."""
        self._drain()
        for source, track in enumerate(self._tracks):
            if not track.ended:
                self._finish(source, next_reason="restart")
                self._give([track.records.paused(0, *self._clock.now())])
        self._pausing = Pausing()
        self._notice("paused")

    def _resume(self, pausing: Pausing) -> None:
        self._pausing = None
        for track in self._tracks:
            if not track.ended:
                self._tell_pause(track)
        left_out = pausing.told(*self._clock.now())
        if self._data is not None and left_out is not None:
            self._data[1].log(left_out)
        self._notice("recording again")

    def _tell_pause(self, track: Track) -> None:
        """Say how many frames of a source came in the pause that is over."""
        self._give([track.records.paused(track.paused_now, *self._clock.now())])
        track.paused, track.paused_now = track.paused + track.paused_now, 0

    def _handle(self, event: Event) -> None:
        source, track = event.source, self._tracks[event.source]
        if self._ladder is not None and self._pausing is None:
            self._judge(self._ladder, track, event)
        at = event.time_ns, event.wall_time_ns
        if isinstance(event, Captured):
            self._captured(source, track, event)
        elif isinstance(event, Dropped) and self._pausing is not None:
            track.paused_now += event.frames
        elif isinstance(event, Dropped):
            if self._options.on_drop == "restart":
                self._finish(source, next_reason="restart")
            track.dropped += event.frames
            index = self._framing.latents(track.stream_frames + 1) - 1 if track.running else None
            drop = track.records.drop(event.frames, self._options.on_drop, *at, index=index)
            self._give([drop])
        elif isinstance(event, Opened):
            track.fps, track.away, track.live = event.fps, False, event.live
            if track.reason == "reconnect":
                track.reconnects += 1
                self._notice(f"{track.name} is back")
            for doubt in event.doubts:
                self._notice(f"{track.name}: {doubt}")
        elif isinstance(event, Lost):
            self._finish(source, next_reason="reconnect")
            track.reason = "reconnect"
            if not track.away:  # each attempt that fails is a loss too
                self._give([track.records.lost(event.reason, *at)])
                self._notice(f"{track.name} is lost and will be opened again: {event.reason}")
            track.away = True
        elif isinstance(event, Ended):
            # A pipe that Ctrl-C ended along with us is no error.
            track.error = None if self._stop.is_set() else event.error
            reason = "ended" if event.error is None else _reason(event.error)
            if track.error is not None:
                self._notice(f"{track.name} failed: {reason}")
            self._end(source, reason, *at)

    def _judge(self, ladder: Ladder, track: Track, event: Event) -> None:
        """Take a step of the ladder where frames of a live source come too late, or no more do."""
        if not track.live or not isinstance(event, Captured | Dropped):
            return
        rung = ladder.rung
        apart_ns = 1e9 * rung.every * self._manifest.chunk_frames / (track.fps or _USUAL_FPS)
        now_ns = self._clock.monotonic_ns()
        dropped = isinstance(event, Dropped)
        behind = is_behind(now_ns - event.time_ns, apart_ns, dropped=dropped)
        then = None if behind is None else ladder.look(now_ns, behind=behind)
        if then is not None:
            self._step(rung, then)

    def _step(self, rung: Rung, then: Rung) -> None:
        """Finish all streams as they are encoded now; those that follow are encoded otherwise."""
        for source in range(len(self._tracks)):
            reason: StartReason = "key" if rung.every == then.every else "restart"
            self._finish(source, next_reason=reason)
        self._batching = self._batchings[then.precision]
        self._steps += 1
        down = self._ladder is not None and self._ladder.went_down
        what = str(then) or "as asked for"
        self._notice(f"encoding is late: {what}" if down else f"encoding keeps up: {what}")

    def _captured(self, source: int, track: Track, event: Captured) -> None:
        if self._pausing is not None:
            track.paused_now += 1
            return
        if track.running and track.to_skip:
            track.to_skip, track.thinned = track.to_skip - 1, track.thinned + 1
            return
        if self._key_is_due(track, event.time_ns):
            self._finish(source, next_reason="key")
        if not track.running:
            at = event.time_ns, event.wall_time_ns
            rung = Rung() if self._ladder is None else self._ladder.rung
            start = track.records.start(
                track.reason, *at, fps=track.fps, every=rung.every, given_up=str(rung)
            )
            self._give([start])
            track.running, track.stream_start_ns, track.stream_frames = True, event.time_ns, 0
        if not track.encoded:
            track.first_ns = event.time_ns
        track.last_ns = event.time_ns
        track.stream_frames += 1
        track.to_skip = 0 if self._ladder is None else self._ladder.rung.every - 1
        track.encoded += 1
        frame = event.frame
        self._encode(lambda: self._batching.push(frame.pixels, slot=source, stamp=frame.stamp))
        if self._audit is not None and self._data is not None:
            self._look(self._audit, self._data[1], source, frame)

    def _look(self, audit: Audit, file: AwaitedFile, source: int, frame: Frame) -> None:
        """Make a picture of a frame, when one is due and none is late for it."""
        late = self._captures.backlog > 0 and any(track.live for track in self._tracks)
        if (picture := audit.look(source, frame, late=late)) is not None:
            file.show(picture)
        if (skipped := audit.told(*self._clock.now())) is not None:
            file.log(skipped)

    def _key_is_due(self, track: Track, now_ns: int) -> bool:
        """Whether the interval has passed and no chunk is begun, so that nothing is padded."""
        every_s = self._options.key_interval_s
        if every_s is None or not track.running or now_ns - track.stream_start_ns < every_s * 1e9:
            return False
        fed = track.stream_frames + self._framing.lead_in - 1
        return fed % self._manifest.chunk_frames == 0

    def _finish(self, source: int, next_reason: StartReason) -> None:
        """Finish the stream of a source, if there is one; its next frame begins another."""
        track = self._tracks[source]
        if not track.running:
            return
        self._encode(lambda: self._batching.finish(source), ending=source)
        track.running, track.reason = False, next_reason

    def _end(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        self._finish(source, next_reason="start")
        track = self._tracks[source]
        if self._pausing is not None:
            self._tell_pause(track)
        track.ended = reason
        self._give([track.records.end(reason, time_ns, wall_time_ns)])
        track.end_told = self._parts is None or self._parts.writing

    def _encode(self, call: Callable[[], list[Latents]], *, ending: int | None = None) -> None:
        start_ns = self._clock.monotonic_ns()
        results = call()
        end_ns = self._clock.monotonic_ns()
        if results:
            self._step_ns = end_ns - start_ns
        for latents in results:
            records = self._tracks[latents.slot].records
            self._give(records.encoded(latents, encode_start_ns=start_ns, encode_end_ns=end_ns))
            for span in latents.spans if latents.slot != ending else ():
                self._latency.add(end_ns - span.last.capture_time_ns)

    def _give(self, records: Iterable[Record]) -> None:
        """Give records to every sink; the one that a sink refuses is given to none behind it."""
        for record in records:
            for sink in self._sinks:
                sink.take(record)
        self._tick()

    def _tick(self, busy_ns: int = 0) -> None:
        now_ns = self._clock.monotonic_ns()
        for sink in self._sinks:
            sink.tick(now_ns, busy_ns)

    def _give_up(self, error: BaseException) -> None:
        """Say in the recording why it ends; the encoder and the sinks may all be unusable."""
        self._captures.close()
        for track in self._tracks:
            if not track.ended:
                track.ended = f"failed: {_reason(error)}"
                with suppress(Exception):
                    self._give([track.records.end(track.ended, *self._clock.now())])

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
