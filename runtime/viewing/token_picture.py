"""Latents as pictures: values that are near to each other get colours that are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["latent_picture"]

_KL_RANGE = 3.0  # standard deviations of the prior


def latent_picture(values: NDArray[Any], levels: Sequence[int]) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] of int32 tokens [h, w], or with no `levels` of a mean [z, h, w].

    Dimension k of the latent goes to colour k mod 3, from its lowest level (0) to its highest
    (255); of KL the first three channels, from -3 to 3.

    >>> latent_picture(np.array([[0, 7, 8 * 8 - 1]]), (8, 8)).tolist()
    [[[0, 0, 128], [255, 0, 128], [255, 255, 128]]]
    """
    if levels:
        digits = []
        for count in levels:
            values, digit = np.divmod(values, count)
            digits.append(digit / (count - 1))
    else:
        digits = [np.clip(v / _KL_RANGE / 2 + 0.5, 0, 1) for v in values[:3]]
    grey = np.full_like(digits[0], 0.5)
    colours = [np.mean(digits[c::3] or [grey], axis=0) for c in range(3)]
    picture: NDArray[np.uint8] = np.rint(255 * np.stack(colours, axis=-1)).astype(np.uint8)
    return picture
