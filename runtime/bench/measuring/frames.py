"""What the benchmark streams: a moving picture made of numpy alone, or the start of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.manifest.manifest import Manifest

__all__ = ["COUNT", "clip_doubts", "clip_frames", "for_graph", "moving_frames"]

COUNT = 48
"""Frames that are made once and streamed again and again: fetching one costs nothing."""


def moving_frames(count: int, height: int, width: int) -> list[NDArray[np.uint8]]:
    """A picture that moves: two discs over a drifting gradient, with a little noise.

    Every `count` frames it begins anew, without a jump. Returns uint8 [H, W, 3] each.
    """
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3))
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    frames = []
    for number in range(count):
        turn = 2 * np.pi * number / count
        picture = np.stack(
            [
                120 + 70 * np.sin(2 * np.pi * x + turn),
                120 + 70 * np.sin(2 * np.pi * (x + y) - turn),
                120 + 70 * np.cos(2 * np.pi * y + turn),
            ],
            axis=-1,
        )
        for radius, phase, colour in ((0.12, 0.0, (230, 60, 40)), (0.08, 2.5, (30, 40, 160))):
            centre_x, centre_y = 0.5 + 0.3 * np.cos(turn + phase), 0.5 + 0.3 * np.sin(turn + phase)
            disc = (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
            picture[disc] = colour
        rolled = np.roll(noise, number * 3, axis=1)
        frames.append(np.clip(picture + rolled, 0, 255).astype(np.uint8))
    return frames


def clip_frames(path: Path, count: int, height: int, width: int) -> list[NDArray[np.uint8]]:
    """The first `count` frames of a clip, uint8 [H, W, 3] each; fewer where it has fewer.

    Raises MissingDependency without PyAV, ClipError for a clip that cannot be read.
    """
    from vidtok_edge.runtime.clips.reading import ClipReader

    frames = []
    with ClipReader(path, size=(height, width), rate="every-frame") as clip:
        for frame in clip:
            frames.append(frame.pixels)
            if len(frames) == count:
                break
    if not frames:
        raise UsageError(f"{path} has no frames; name a clip that has some, or none.")
    return frames


def clip_doubts(path: Path) -> tuple[str, ...]:
    """What in a clip a tokenizer was not made for, as its first frame shows; see `ClipReader`.

    Raises as `clip_frames`.
    """
    from vidtok_edge.runtime.clips.reading import ClipReader

    with ClipReader(path, size=(8, 8), fit="letterbox", rate="every-frame") as clip:
        return clip.doubts


def for_graph(manifest: Manifest, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[Any]]:
    """As the bundle's encoder takes them: bytes, or float32 in [-1, 1] with `--io float`."""
    if manifest.io == "uint8":
        return list(frames)
    return [frame.astype(np.float32) / np.float32(127.5) - 1 for frame in frames]
