"""What an encoder gives and a decoder takes, and which frames it stands for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameSpan", "Latent", "Latents", "Stamp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When a frame was captured, on every clock that was looked at."""

    capture_time_ns: int
    """Monotonic clock."""
    wall_time_ns: int
    """Since 1970, the machine's clock at the same moment; it may jump."""
    media_time_ns: int | None = None
    """On the clock of its own that a clip has, since its first frame; None: there is no such clock,
    as of a camera, and when it was captured is all that is known."""

    @classmethod
    def at(cls, capture_time_ns: int | None = None) -> Stamp:
        """Of a time on the monotonic clock, now where None; both clocks run alike since then."""
        now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        at_ns = now_ns if capture_time_ns is None else capture_time_ns
        return cls(capture_time_ns=at_ns, wall_time_ns=wall_ns + at_ns - now_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpan:
    """The frames of a stream that one latent stands for."""

    first_frame: int
    """Number of the first one, from 0."""
    stamps: tuple[Stamp, ...]
    """Of the real ones, in order: fewer than its share at a stream's end, none in what is left of a
    non-causal window behind it."""
    last: Stamp
    """Of the last real frame; where it has none, of the stream's last one."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Latent:
    """One latent of a stream."""

    slot: int
    index: int
    """Its number in the stream, from 0."""
    values: NDArray[Any]
    """int32 tokens [h, w], or float32 mean [z, h, w]."""
    logvar: NDArray[np.float32] | None
    """[z, h, w] for KL, else None."""
    span: FrameSpan

    @property
    def first_frame(self) -> int:
        """Number of the first frame that it stands for, from 0."""
        return self.span.first_frame

    @property
    def frames_real(self) -> int:
        """How many frames it stands for; fewer than its share at the end of a stream."""
        return len(self.span.stamps)

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """Of the real frames that it stands for."""
        return self.span.stamps

    @property
    def stamp(self) -> Stamp:
        """Of its last real frame; where it has none, of the stream's last one."""
        return self.span.last


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Latents:
    """Consecutive latents of one stream, as one call gave them; iterate to get each `Latent`.

    The arrays are the caller's own, but with `tokens_on="device"`: then they are where the step
    left them, until its next call; of an engine `runtime.backends.arrays.DeviceArray`, which has
    `__dlpack__`.
    """

    slot: int
    index: int
    """Number of the first latent in its stream, from 0."""
    tokens: NDArray[np.int32] | None
    """[n, h, w] for FSQ, else None."""
    mean: NDArray[np.float32] | None
    """[n, z, h, w] for KL, else None."""
    logvar: NDArray[np.float32] | None
    """[n, z, h, w] for KL, else None."""
    spans: tuple[FrameSpan, ...]
    """n: the frames that each of them stands for."""

    @property
    def values(self) -> NDArray[Any]:
        """What the decoder takes: tokens [n, h, w] or mean [n, z, h, w]."""
        values = self.tokens if self.tokens is not None else self.mean
        assert values is not None
        return values

    @property
    def first_frame(self) -> int:
        """Number of the first frame that they stand for, from 0."""
        return self.spans[0].first_frame

    @property
    def frames_real(self) -> int:
        """How many frames they stand for; fewer than their share at the end of a stream."""
        return sum(len(span.stamps) for span in self.spans)

    @property
    def capture_time_ns(self) -> NDArray[np.int64]:
        """[n], capture time of the last real frame of each latent."""
        return np.array([span.last.capture_time_ns for span in self.spans], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[Latent]:
        values, logvar = self.values, self.logvar
        for offset, span in enumerate(self.spans):
            yield Latent(
                slot=self.slot,
                index=self.index + offset,
                values=values[offset],
                logvar=None if logvar is None else logvar[offset],
                span=span,
            )

    def __repr__(self) -> str:
        last = self.first_frame + self.frames_real - 1
        return (
            f"Latents(slot={self.slot}, index={self.index}, n={len(self)}, "
            f"frames={self.first_frame}..{last}, shape={list(self.values.shape)})"
        )
