"""Decodes latents of which some may be missing, and knows when each frame was captured."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.runtime.streaming.decoder import Picture, StreamDecoder

__all__ = ["GapDecoder", "TimedPicture"]


@dataclass(frozen=True, slots=True, eq=False)
class TimedPicture:
    """A decoded frame."""

    slot: int
    time_ns: int
    """When it was captured, as it was given with its latent."""
    pixels: NDArray[Any]
    """uint8 [H, W, 3] RGB."""
    latent: tuple[int, int]
    """Stream and index of the latent that stands for it."""
    last: bool
    """No other real frame of that latent follows."""


@dataclass(slots=True)
class _Track:
    """Where the stream of one slot stands."""

    due: tuple[int, int] | None = None
    """Stream and index of the latent that would continue it."""
    pushed: int = 0
    """Latents since the decoder began."""
    tail: bool = False
    """The last latent stood for fewer frames than its share: nothing real can follow."""
    waiting: deque[tuple[int, tuple[int, int], bool]] = field(default_factory=deque)
    """Of frames that are not out yet: time, latent, and whether it is the last of it."""


class GapDecoder:
    """Feeds a decoder whose latents may have gaps; where some are missing, it begins anew.

    The frames behind a gap are near to what was encoded, not equal. A non-causal decoder goes on
    at the next whole window (docs/streaming.md, section 6.3).
    """

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder
        self._tracks = [_Track() for _ in range(decoder.manifest.streams)]
        self._window = 1 if decoder.framing.causal else decoder.manifest.chunk
        self.begun = 0
        """How often a stream was begun."""
        self.broken = 0
        """How many of these times in the middle of one, behind a gap."""

    def push(
        self, slot: int, stream: int, index: int, value: NDArray[Any], times_ns: Sequence[int]
    ) -> Iterator[TimedPicture]:
        """Give one latent; the frames that are ready, also of other slots. Read them all.

        Args:
            stream: its number; another number is another stream.
            index: of the latent in its stream.
            value: tokens int32 [h, w], or KL latents float32 [z, h, w].
            times_ns: of the real frames that it stands for.
        """
        track = self._tracks[slot]
        # After a tail only the empty rest of its window can follow.
        if (stream, index) != track.due or (track.tail and times_ns):
            yield from self.finish(slot)
            if index % self._window:
                return  # a window is decoded whole
            self.begun += 1
            self.broken += index != 0
            track = self._tracks[slot]
        share = len(self._decoder.framing.share(track.pushed))
        real = min(len(times_ns), share)  # behind a gap, the first latent gives its last frame only
        for left, time_ns in zip(range(real)[::-1], times_ns[len(times_ns) - real :], strict=True):
            track.waiting.append((time_ns, (stream, index), left == 0))
        track.pushed += 1
        track.tail = real < share
        track.due = (stream, index + 1)
        pictures = self._decoder.push_values(value[None], slot=slot, frames_real=real)
        yield from self._timed(pictures)

    def whole_windows(self, slot: int) -> bool:
        """Whether all that was given can be decoded: no window is begun."""
        return self._tracks[slot].pushed % self._window == 0

    def finish(self, slot: int) -> Iterator[TimedPicture]:
        """End the stream of a slot: the frames that were held back."""
        track = self._tracks[slot]
        if track.pushed and self.whole_windows(slot):
            yield from self._timed(self._decoder.finish(slot))
        else:
            self._decoder.reset(slot)
        self._tracks[slot] = _Track()

    def _timed(self, pictures: list[Picture]) -> Iterator[TimedPicture]:
        for picture in pictures:
            time_ns, latent, last = self._tracks[picture.slot].waiting.popleft()
            yield TimedPicture(picture.slot, time_ns, picture.pixels, latent, last)
