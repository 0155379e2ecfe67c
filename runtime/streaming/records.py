"""What a session records, one by one, and what takes it: a file, a view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from numpy.typing import NDArray

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.streaming.latents import Latents, Stamp

__all__ = [
    "MARKER_KINDS",
    "PAUSED",
    "AfterDrop",
    "LatentRecord",
    "Marker",
    "MarkerKind",
    "Picture",
    "Record",
    "Sample",
    "Sink",
    "SourceRecords",
    "StartReason",
]

StartReason = Literal["start", "reconnect", "restart", "key"]
AfterDrop = Literal["continue", "restart"]
MarkerKind = Literal["start", "reconnect", "restart", "key", "drop", "lost", "end"]
MARKER_KINDS: tuple[str, ...] = get_args(MarkerKind)
PAUSED = "paused"
"""What a `drop` says in place of what then, where frames were left out on purpose."""
_STARTS: tuple[str, ...] = get_args(StartReason)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LatentRecord:
    """One latent of a source."""

    source: int
    stream: int
    """Counts the streams of the source, from 0."""
    index: int
    """In its stream, from 0."""
    first_frame: int
    """Number of the first frame that it stands for, in its stream."""
    frames_real: int
    """How many it stands for; fewer than its share at a stream's end."""
    stamp: Stamp
    """Of its last real frame; where it has none, of the stream's last one."""
    stamps: tuple[Stamp, ...] = ()
    """Of all its real frames; empty where a recording was read: it has the last alone."""
    encode_start_ns: int
    """Monotonic clock."""
    encode_end_ns: int
    values: NDArray[Any]
    """int32 tokens [h, w], or float32 mean [z, h, w]."""
    log_time_ns: int = 0
    """Where it was read from a recording: its time there, as the wall clock's, but it never
    jumps."""

    @property
    def capture_time_ns(self) -> int:
        """Of its last real frame, monotonic clock."""
        return self.stamp.capture_time_ns

    @property
    def wall_time_ns(self) -> int:
        """Of the same frame, since 1970; the clock may jump."""
        return self.stamp.wall_time_ns

    @property
    def media_time_ns(self) -> int | None:
        """Of the same frame, on the source's own clock; None: it has none, as a camera."""
        return self.stamp.media_time_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Something that happened to a source."""

    source: int
    kind: MarkerKind
    stream: int
    """Which stream it is in; `start`, `reconnect`, `restart` and `key` begin it."""
    index: int
    """Of the stream's next latent; of a `drop`: of the latent that has the next frame."""
    frames: int = 0
    """`drop`: how many frames. Where a stream begins: of so many frames one is encoded; 0: each."""
    detail: str = ""
    """`drop`: what then, continue or restart, or that it was paused; `lost`, `end`: why. Where a
    stream begins: what was given up because encoding was late, as `int8, half-rate`."""
    time_ns: int
    """Monotonic clock."""
    wall_time_ns: int
    """Since 1970; the clock may jump."""
    fps: float = 0.0
    """`start`, `reconnect`: as the source announced it; 0: unknown."""
    latents: int = 0
    """Of the source, before it."""
    log_time_ns: int = 0
    """Where it was read from a recording: its time there, as the wall clock's, but it never
    jumps."""

    @property
    def starts_stream(self) -> bool:
        """Whether latent 0 of a new stream follows."""
        return self.kind in _STARTS

    @property
    def every(self) -> int:
        """Of so many frames one is encoded in the stream that it begins."""
        return max(1, self.frames) if self.starts_stream else 1

    @property
    def paused(self) -> bool:
        """Whether it says that the recording was paused: without frames, that a pause begins, and
        else how many frames came in one that is over."""
        return self.kind == "drop" and self.detail == PAUSED


Record = LatentRecord | Marker


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """What the robot did or was at a moment: a sample of a data channel, beside the cameras."""

    channel: str
    """The name of the data channel."""
    time_ns: int
    """Monotonic clock, as the times of frames."""
    wall_time_ns: int
    """Since 1970; the clock may jump."""
    values: NDArray[Any] | None = None
    """float64 [d]; NaN where the robot gave no number. None: an event."""
    text: str = ""
    """Of an event."""
    log_time_ns: int = 0
    """As of a `LatentRecord`, on the same clock: this is what rows are made by."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Picture:
    """A frame of a source as a person looks at it, beside the latents."""

    source: int
    time_ns: int
    """Monotonic clock, of the frame."""
    wall_time_ns: int
    jpeg: bytes


class Sink(Protocol):
    """What a session gives its records to, in order, from one thread."""

    @property
    def safe_bytes(self) -> int:
        """On disk, where a kill cannot take them back; 0 of what is no file."""

    def take(self, record: Record) -> None:
        """The next record. What it raises ends the session."""

    def tick(self, now_ns: int, busy_ns: int) -> None:
        """Do what is due, or comes due in the next `busy_ns`, in which no tick may come."""


class SourceRecords:
    """Makes the records of one source: numbers its streams, and holds its latents in order.

    Times are monotonic nanoseconds, wall times nanoseconds since 1970.
    """

    def __init__(self, source: int) -> None:
        self.source = source
        self.streams = 0
        """That have begun."""
        self.latents = 0
        """In all of them."""
        self._index = 0  # of the stream's next latent

    def start(
        self,
        reason: StartReason,
        time_ns: int,
        wall_time_ns: int,
        *,
        fps: float | None = None,
        every: int = 1,
        given_up: str = "",
    ) -> Marker:
        """A new stream begins: latent 0 follows.

        Args:
            fps: as the source announced.
            every: of so many frames one is encoded.
            given_up: in words, what was, because encoding was late.
        """
        self.streams, self._index = self.streams + 1, 0
        frames = every if every > 1 else 0
        return self._marker(
            reason, time_ns, wall_time_ns, fps=fps or 0.0, frames=frames, detail=given_up
        )

    def encoded(
        self, latents: Latents, *, encode_start_ns: int, encode_end_ns: int
    ) -> Iterator[LatentRecord]:
        """The latents of one call, one by one.

        Each counts when the next one is asked for: where a sink refused it, it was not recorded.

        Raises:
            StreamError: they do not continue the stream.
        """
        if not self.streams or latents.index != self._index:
            raise StreamError(
                f"Latent {latents.index} of source {self.source} came where {self._index} was due, "
                f"in stream {self.streams - 1}. start() a stream before its latent 0, and leave "
                "none out."
            )
        for latent in latents:
            yield LatentRecord(
                source=self.source,
                stream=self.streams - 1,
                index=latent.index,
                first_frame=latent.first_frame,
                frames_real=latent.frames_real,
                stamp=latent.stamp,
                stamps=latent.stamps,
                encode_start_ns=encode_start_ns,
                encode_end_ns=encode_end_ns,
                values=latent.values,
            )
            self._index += 1
            self.latents += 1

    def drop(
        self,
        frames: int,
        then: AfterDrop,
        time_ns: int,
        wall_time_ns: int,
        *,
        index: int | None = None,
    ) -> Marker:
        """`frames` frames were not encoded; the stream goes on without them, or is restarted.

        `index`: of the latent that has the next frame, which may be ahead of the next one to be
        recorded, because encoded chunks wait for those of other sources; that one where None.
        """
        return self._marker("drop", time_ns, wall_time_ns, frames=frames, detail=then, index=index)

    def paused(self, frames: int, time_ns: int, wall_time_ns: int) -> Marker:
        """A pause begins (no frames), or is over and left out `frames` frames."""
        return self._marker("drop", time_ns, wall_time_ns, frames=frames, detail=PAUSED)

    def lost(self, reason: str, time_ns: int, wall_time_ns: int) -> Marker:
        """The source disappeared; it may come back."""
        return self._marker("lost", time_ns, wall_time_ns, detail=reason)

    def end(self, reason: str, time_ns: int, wall_time_ns: int) -> Marker:
        """Nothing more comes from the source."""
        return self._marker("end", time_ns, wall_time_ns, detail=reason)

    def _marker(
        self,
        kind: MarkerKind,
        time_ns: int,
        wall_time_ns: int,
        *,
        frames: int = 0,
        detail: str = "",
        fps: float = 0.0,
        index: int | None = None,
    ) -> Marker:
        return Marker(
            source=self.source,
            kind=kind,
            stream=max(0, self.streams - 1),
            index=self._index if index is None else index,
            frames=frames,
            detail=detail,
            time_ns=time_ns,
            wall_time_ns=wall_time_ns,
            fps=fps,
            latents=self.latents,
        )
