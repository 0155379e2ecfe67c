"""The streams of a session's sources: begun, encoded, finished, and given to its sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vidtok_edge.runtime.session.ladder import Rung
from vidtok_edge.runtime.session.latency import LatencyHistogram
from vidtok_edge.runtime.session.track import Track
from vidtok_edge.runtime.sources.clock import Clock
from vidtok_edge.runtime.sources.events import Captured, Dropped
from vidtok_edge.runtime.sources.frame import without_password
from vidtok_edge.runtime.streaming.batching import Batching
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.records import Record, Sink, SourceRecords, StartReason

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.options import RecordOptions
    from vidtok_edge.runtime.streaming.encoder import StreamEncoder

__all__ = ["SourceStreams"]


class SourceStreams:
    """Source i is slot i of an encoder and source i of the recording.

    What an encoder or a sink raises is raised here.

    Args:
        encoder: with at least as many slots as there are sources.
        spare: encoders of other precisions, for the rungs of a ladder.
        sinks: given each record in this order; the one that a sink refuses is given to none behind
            it.
        names: of the sources, for the summary.
    """

    def __init__(
        self,
        encoder: StreamEncoder,
        spare: Mapping[str, StreamEncoder],
        sinks: Sequence[Sink],
        names: Sequence[str],
        options: RecordOptions,
        clock: Clock,
    ) -> None:
        self._sinks, self._clock = sinks, clock
        self._key_interval_s, self._on_drop = options.key_interval_s, options.on_drop
        encoders: dict[str | None, StreamEncoder] = {None: encoder} | dict(spare)
        self._batchings = {
            precision: Batching(one, options.batch_wait_s, clock.monotonic_ns)
            for precision, one in encoders.items()
        }
        self.manifest, self._framing = encoder.manifest, encoder.framing
        self.tracks = [
            Track(name=without_password(name), records=SourceRecords(source))
            for source, name in enumerate(names)
        ]
        self.rung = Rung()
        """How frames are encoded now; set it while no stream runs."""
        self.latency = LatencyHistogram()
        """From the last frame of a latent to its end, of all that came while streams ran."""
        self.step_ns = 0
        """What the last call of the graph took; the next one may be due at once."""

    @property
    def all_ended(self) -> bool:
        """Whether no source gives any more."""
        return all(track.ended for track in self.tracks)

    @property
    def safe_bytes(self) -> int:
        """What all sinks hold against a crash."""
        return sum(sink.safe_bytes for sink in self._sinks)

    @property
    def due_in_s(self) -> float | None:
        """How long until `run_due` has something to do; None: not before another frame."""
        return self._batching.due_in_s()

    @property
    def pending(self) -> tuple[int, ...]:
        """Slots whose chunk is complete: their next frame would not wait for others."""
        return self._batching.encoder.pending

    @property
    def _batching(self) -> Batching:
        return self._batchings[self.rung.precision]

    def push(self, source: int, event: Captured) -> bool:
        """Encode a frame, which begins a stream where none runs; False: it was thinned out."""
        track = self.tracks[source]
        if track.running and track.to_skip:
            track.to_skip, track.thinned = track.to_skip - 1, track.thinned + 1
            return False
        if self._key_is_due(track, event.time_ns):
            self.finish(source, next_reason="key")
        if not track.running:
            self._begin(track, event)
        if not track.encoded:
            track.first_ns = event.time_ns
        track.last_ns = event.time_ns
        track.stream_frames += 1
        track.to_skip = self.rung.every - 1
        track.encoded += 1
        frame = event.frame
        self._encode(lambda: self._batching.push(frame.pixels, slot=source, stamp=frame.stamp))
        return True

    def run_due(self) -> None:
        """Encode what has waited for the others of its batch for long enough."""
        self._encode(self._batching.run_due)

    def drop(self, source: int, event: Dropped) -> None:
        """Say that frames of a source are gone, and begin its stream anew where that is asked."""
        track = self.tracks[source]
        if self._on_drop == "restart":
            self.finish(source, next_reason="restart")
        track.dropped += event.frames
        index = self._framing.latents(track.stream_frames + 1) - 1 if track.running else None
        at = event.time_ns, event.wall_time_ns
        self.give([track.records.drop(event.frames, self._on_drop, *at, index=index)])

    def finish(self, source: int, next_reason: StartReason) -> None:
        """Finish the stream of a source, if there is one; its next frame begins another."""
        track = self.tracks[source]
        if not track.running:
            return
        self._encode(lambda: self._batching.finish(source), ending=source)
        track.running, track.reason = False, next_reason

    def step_to(self, rung: Rung) -> None:
        """Finish all streams as they are encoded now; those that follow are encoded otherwise."""
        reason: StartReason = "key" if rung.every == self.rung.every else "restart"
        for source in range(len(self.tracks)):
            self.finish(source, next_reason=reason)
        self.rung = rung

    def end_part(self, detail: str) -> None:
        """Finish all streams in this part; the next frame of each source begins one in the next.

        Nothing in a part then needs another part, and no part says that something is missing
        which lies before it.
        """
        for source, track in enumerate(self.tracks):
            if track.ended:
                self.tell_end(track)
                track.end_told = False
            else:
                reason = track.reason if not track.running else "key"
                self.finish(source, next_reason=reason)
                self.give([track.records.end(detail, *self._clock.now())])
            track.next_part()

    def tell_end(self, track: Track) -> None:
        """Say in a part of after that a source has ended, so that nothing is missing in it."""
        if not track.end_told:
            self.give([track.records.end(track.ended, *self._clock.now())])
            track.end_told = True

    def give(self, records: Iterable[Record]) -> None:
        """Give records to every sink."""
        for record in records:
            for sink in self._sinks:
                sink.take(record)
        self.tick()

    def tick(self, busy_ns: int = 0) -> None:
        """As `Sink.tick`."""
        now_ns = self._clock.monotonic_ns()
        for sink in self._sinks:
            sink.tick(now_ns, busy_ns)

    def _begin(self, track: Track, event: Captured) -> None:
        start = track.records.start(
            track.reason,
            event.time_ns,
            event.wall_time_ns,
            fps=track.fps,
            every=self.rung.every,
            given_up=str(self.rung),
        )
        self.give([start])
        track.running, track.stream_start_ns, track.stream_frames = True, event.time_ns, 0

    def _key_is_due(self, track: Track, now_ns: int) -> bool:
        """Whether the interval has passed and no chunk is begun, so that nothing is padded."""
        every_s = self._key_interval_s
        if every_s is None or not track.running or now_ns - track.stream_start_ns < every_s * 1e9:
            return False
        fed = track.stream_frames + self._framing.lead_in - 1
        return fed % self.manifest.chunk_frames == 0

    def _encode(self, call: Callable[[], list[Latents]], *, ending: int | None = None) -> None:
        start_ns = self._clock.monotonic_ns()
        results = call()
        end_ns = self._clock.monotonic_ns()
        if results:
            self.step_ns = end_ns - start_ns
        for latents in results:
            records = self.tracks[latents.slot].records
            self.give(records.encoded(latents, encode_start_ns=start_ns, encode_end_ns=end_ns))
            for span in latents.spans if latents.slot != ending else ():
                self.latency.add(end_ns - span.last.capture_time_ns)
