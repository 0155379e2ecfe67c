"""Frames of the clips that ship with the package."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.vidtok_ref import embedded_file

__all__ = ["shipped_frames"]


def shipped_frames(clip: str, size: tuple[int, int], most: int) -> NDArray[np.uint8]:
    """The first frames of the shipped clip `clip`, `most` where it has as many: [T, H, W, 3].

    `size` is (H, W).

    Raises:
        MissingDependency: there is no PyAV. Graphs are written without it, so it is imported here.
    """
    from vidtok_edge.runtime.clips.reading import ClipReader

    with ClipReader(embedded_file(clip), size=size) as reader:
        return np.stack([frame.pixels for frame in islice(reader, most)])
