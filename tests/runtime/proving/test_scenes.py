"""The frames of golden streams: the same bytes on every machine, in every NumPy."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from vidtok_edge.runtime.proving.scenes import as_bytes, as_input, golden_frame, sampled_pixels

HASHES = {
    (0, 16, 16): "dc5354f8e72a26f5",
    (5, 32, 48): "b594c94a470c6d96",
    (9, 256, 256): "b56044f544bfaaa9",
    (40_000, 8, 1920): "d7cca7fd083c8550",
}
"""Of frames (number, height, width) whose scene is cut at frame 7; a new recipe has a new name."""


@pytest.mark.parametrize(("number", "height", "width"), HASHES)
def test_frames_are_the_same_everywhere(number: int, height: int, width: int) -> None:
    frame = golden_frame(number, height, width, cut=7)
    assert frame.shape == (height, width, 3) and frame.dtype == np.uint8
    digest = hashlib.sha256(frame.tobytes()).hexdigest()
    assert digest[:16] == HASHES[number, height, width]


def test_frames_move_and_change_with_the_cut() -> None:
    frames = [golden_frame(n, 64, 64, cut=3).astype(int) for n in range(5)]
    changes = [np.abs(b - a).mean() for a, b in pairwise(frames)]
    assert min(changes) > 0.5, "every frame moves"
    assert changes[2] > 3 * max(changes[0], changes[1], changes[3]), "the cut is the largest change"


def test_sampled_pixels_are_of_the_picture_and_elsewhere_in_the_next() -> None:
    y, x = np.mgrid[:32, :48]
    picture = np.stack([y, x, y * 0], axis=-1).astype(np.uint8)
    places = [sampled_pixels(picture, n) for n in range(200)]
    assert all(pixels.shape == (256, 3) for pixels in places)
    assert not np.array_equal(places[0], places[1])
    seen = {(int(a), int(b)) for pixels in places for a, b, _ in pixels}
    assert len(seen) == 32 * 48, "no place is left out of all pictures"


def test_the_error_over_the_sampled_pixels_is_that_of_the_picture() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (64, 64, 3), np.uint8)
    other = np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
    whole = np.mean((picture.astype(float) - other) ** 2)
    sampled = np.mean(
        [
            (sampled_pixels(picture, n).astype(float) - sampled_pixels(other, n)) ** 2
            for n in range(40)
        ]
    )
    assert abs(10 * np.log10(sampled / whole)) < 0.2


def test_frames_in_floats_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    floats = as_input(pixels, "float")
    assert floats.dtype == np.float32 and floats.min() == -1 and floats.max() == 1
    np.testing.assert_array_equal(as_bytes(floats), pixels)
    assert as_input(pixels, "uint8") is pixels
    assert as_bytes(np.array([np.nan, -3, 3], np.float32)).tolist() == [0, 0, 255]
