"""What an encoder gives and a decoder takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Latents"]


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Consecutive latents of one stream, as one call gave them. The arrays are the caller's own."""

    slot: int
    index: int
    """Number of the first latent in its stream, from 0."""
    tokens: NDArray[np.int32] | None
    """[n, h, w] for FSQ, else None."""
    mean: NDArray[np.float32] | None
    """[n, z, h, w] for KL, else None."""
    logvar: NDArray[np.float32] | None
    """[n, z, h, w] for KL, else None."""
    first_frame: int
    """Number of the first frame that they stand for, from 0."""
    frames_real: int
    """How many frames they stand for; fewer than their share at the end of a stream with a tail."""
    capture_time_ns: NDArray[np.int64]
    """[n], capture time of the last real frame of each latent."""

    @property
    def values(self) -> NDArray[Any]:
        """What the decoder takes: tokens [n, h, w] or mean [n, z, h, w]."""
        values = self.tokens if self.tokens is not None else self.mean
        assert values is not None
        return values

    def __len__(self) -> int:
        return len(self.capture_time_ns)

    def __repr__(self) -> str:
        last = self.first_frame + self.frames_real - 1
        return (
            f"Latents(slot={self.slot}, index={self.index}, n={len(self)}, "
            f"frames={self.first_frame}..{last}, shape={list(self.values.shape)})"
        )
