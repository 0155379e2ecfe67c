"""The frames of a golden stream, by a recipe of integers: no video library, no random generator.

uint32 arithmetic wraps alike on every machine and in every NumPy, so the frames are the same bytes
wherever they are made. Two scenes: a shaded background that pans, a fine texture on it, and a disc
that moves over it; other colours, directions and grain behind the cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECIPE", "as_bytes", "as_input", "golden_frame", "sampled_pixels"]

RECIPE = "scenes 1"
"""Name and version of the recipe; a golden stream of another one is not of this toolkit."""

SAMPLES = 256
"""Pixels of a picture that a golden stream holds."""

_Words = NDArray[np.uint32]


def golden_frame(number: int, height: int, width: int, *, cut: int) -> NDArray[np.uint8]:
    """Frame `number` of the golden stream, uint8 [H, W, 3]; the second scene begins with `cut`."""
    scene = int(number >= cut)
    y = np.arange(height, dtype=np.uint32)[:, None]
    x = np.arange(width, dtype=np.uint32)[None, :]
    # On a scale of 0 to 1023 whatever the size, so that a small picture is not a corner of a large.
    down, across = _scaled(y, height), _scaled(x, width)
    pan = np.uint32(number * (9 if scene else 5))
    channels = []
    for channel in range(3):
        slope = np.uint32(1 + (channel + scene) % 3)
        along = across * slope + down * np.uint32(3 - channel) + pan * slope
        channels.append(_folded(along // np.uint32(3)))
    grain = 4 - 2 * scene
    texture = _hashed((x + pan // np.uint32(8)) // np.uint32(grain), y // np.uint32(grain), scene)
    picture = np.stack(channels, axis=-1) * np.uint32(7) + (texture & np.uint32(255))[..., None]
    picture >>= np.uint32(3)
    inside = _disc(down, across, number, scene)
    colour = np.array([(230, 60, 40), (30, 90, 220)][scene], np.uint32)
    covered = (picture + colour * np.uint32(3)) >> np.uint32(2)
    return np.where(inside[..., None], covered, picture).astype(np.uint8)


def sampled_pixels(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Of picture `number`, [H, W, 3], the pixels that a golden stream holds: [256, 3].

    Their places are hashes of the number, so that over many pictures no place is left out.
    """
    k = np.arange(SAMPLES, dtype=np.uint32)
    places = _hashed(k, np.full_like(k, number), 7) % np.uint32(picture.shape[0] * picture.shape[1])
    pixels: NDArray[np.uint8] = picture.reshape(-1, 3)[places]
    return pixels


def as_input(pixels: NDArray[np.uint8], io: str) -> NDArray[Any]:
    """uint8 pixels as a bundle takes frames: as they are, or float32 in [-1, 1]."""
    if io == "uint8":
        return pixels
    return (pixels / np.float32(127.5) - 1).astype(np.float32)


def as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pictures in [-1, 1] as uint8, what is no number as 0; those that are uint8 as they are."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.nan_to_num((pixels.clip(-1, 1) + 1) * 127.5, nan=0.0).round().astype(np.uint8)


def _scaled(place: _Words, size: int) -> _Words:
    return place * np.uint32(1024) // np.uint32(size)


def _folded(value: _Words) -> _Words:
    """A triangle wave between 0 and 255 of period 512: no edge where it begins anew."""
    rest = value & np.uint32(511)
    folded: _Words = np.minimum(rest, np.uint32(511) - rest)
    return folded


def _hashed(a: _Words, b: _Words, seed: int) -> _Words:
    """32 bits that look like noise, of two numbers (the finisher of MurmurHash3)."""
    h = a * np.uint32(0x9E3779B1) + b * np.uint32(0x85EBCA77) + np.uint32(seed * 0x27D4EB2F % 2**32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def _disc(down: _Words, across: _Words, number: int, scene: int) -> NDArray[np.bool_]:
    """Where the disc is in frame `number`; it goes round in 1024ths of the picture."""
    middle_x = (number * (23 if scene else 17) + 300) % 1024
    middle_y = (number * (7 if scene else 11) + 400) % 1024
    x, y = across.astype(np.int32) - middle_x, down.astype(np.int32) - middle_y
    return np.asarray(x * x + y * y < 180 * 180)
