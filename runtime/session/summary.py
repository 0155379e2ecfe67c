"""What a recording session did, while it runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.session.samples import ChannelCounts

__all__ = ["RecordSummary", "SourceSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSummary:
    """What became of one source."""

    name: str
    frames_captured: int = 0
    """Encoded, dropped, and left out in a pause or at a reduced rate."""
    frames_encoded: int = 0
    frames_dropped: int = 0
    frames_damaged: int = 0
    """Pictures of a camera that could not be decoded: not among those captured. Those before a
    frame that was dropped are not counted."""
    frames_paused: int = 0
    """Left out because the recording was paused."""
    frames_thinned: int = 0
    """Left out at a reduced rate, because encoding was late."""
    pictures: int = 0
    """Of an audit track."""
    pictures_skipped: int = 0
    """That were due while frames waited for the encoder, or that would have been too large."""
    latents: int = 0
    streams: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    """From its first frame to its last."""
    away: bool = False
    """A camera that is lost and not back."""
    ended: str = ""
    """Why nothing more came of it; empty while it runs."""
    error: BaseException | None = None
    """What ended it, where it was not simply over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSummary:
    """What a session recorded. Truthy where no source ended in an error."""

    sources: tuple[SourceSummary, ...]
    seconds: float = 0.0
    """That the session ran."""
    latency_p50_ms: float = 0.0
    """From when a latent's last frame was captured to its tokens ready; at most 2 % too high.
    Latents that a stream's end completed are left out: they waited for nothing."""
    latency_p95_ms: float = 0.0
    latency_max_ms: float = 0.0
    bytes_written: int = 0
    """0: it was stopped before the first frame, and there is no file."""
    channels: tuple[ChannelCounts, ...] = ()
    """Of data."""
    events: int = 0
    """That were kept, of a session that keeps nothing else."""
    given_up: str = ""
    """What is now, or was at the end, because encoding was late, as `int8, half-rate`."""
    steps: int = 0
    """That were taken down and up the ladder."""
    paused: bool = False
    """It is paused, or was when it ended."""
    not_shown: int = 0
    """Things that a view left out, because it was too slow or gone."""

    def __bool__(self) -> bool:
        return all(source.error is None for source in self.sources)
