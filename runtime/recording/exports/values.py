"""The values of latents as exports hold them: as small as holds every one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vidtok_edge.runtime.recording.exports.episodes import Row
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

__all__ = ["values_dtype", "values_of"]


def values_dtype(tokenizer: Tokenizer, *, continuous: DTypeLike) -> np.dtype[Any]:
    """Of tokens uint16 where the codebook fits, else int32; of KL latents `continuous`."""
    if tokenizer.latent != "fsq":
        return np.dtype(continuous)
    return np.dtype(np.uint16 if tokenizer.codebook_size <= 1 << 16 else np.int32)


def values_of(rows: Sequence[Row], dtype: np.dtype[Any]) -> NDArray[Any]:
    """[n, h, w] or [n, z, h, w], a row's latent after the other."""
    return np.stack([row.latent.values for row in rows]).astype(dtype)
