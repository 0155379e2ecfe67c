"""Where one source of a session stands."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.session.summary import SourceSummary
from vidtok_edge.runtime.streaming.records import SourceRecords, StartReason

__all__ = ["Track"]


@dataclass(slots=True, kw_only=True)
class Track:
    """Where one source stands. Its size does not grow with time."""

    name: str
    records: SourceRecords
    fps: float | None = None
    reason: StartReason = "start"
    """Of the stream that its next frame begins."""
    earlier: int = 0
    """Latents of parts that are finished."""
    earlier_streams: int = 0
    running: bool = False
    """A stream has begun and is not finished."""
    stream_start_ns: int = 0
    stream_frames: int = 0
    to_skip: int = 0
    """Frames until the next one is encoded."""
    away: bool = False
    can_be_late: bool = False
    """Its frames do not wait for the encoder."""
    encoded: int = 0
    dropped: int = 0
    damaged: int = 0
    """Pictures that could not be decoded."""
    reconnects: int = 0
    first_ns: int = 0
    last_ns: int = 0
    thinned: int = 0
    """Frames that were left out at a reduced rate."""
    paused: int = 0
    """Frames that were left out in pauses."""
    paused_now: int = 0
    """In the one that is not over."""
    ended: str = ""
    end_told: bool = False
    """The part that is being written says so."""
    error: BaseException | None = None

    def next_part(self) -> None:
        """Count from nothing for a part that comes, and remember what the one before has."""
        self.earlier += self.records.latents
        self.earlier_streams += self.records.streams
        self.records = SourceRecords(self.records.source)

    def summary(self) -> SourceSummary:
        paused = self.paused + self.paused_now
        return SourceSummary(
            name=self.name,
            frames_captured=self.encoded + self.dropped + self.thinned + paused,
            frames_encoded=self.encoded,
            frames_dropped=self.dropped,
            frames_damaged=self.damaged,
            frames_paused=paused,
            frames_thinned=self.thinned,
            latents=self.earlier + self.records.latents,
            streams=self.earlier_streams + self.records.streams,
            reconnects=self.reconnects,
            seconds=(self.last_ns - self.first_ns) / 1e9,
            away=self.away,
            ended=self.ended,
            error=self.error,
        )
