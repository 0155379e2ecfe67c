"""PSNR and SSIM agree with scikit-image."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.clips.quality import Quality, WorstFrame, psnr, ssim

Pixels = NDArray[np.uint8]


def noise(seed: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def near(pixels: Pixels, seed: int, spread: int) -> Pixels:
    change = np.random.default_rng(seed).integers(-spread, spread + 1, pixels.shape)
    changed: Pixels = np.clip(pixels.astype(np.int64) + change, 0, 255).astype(np.uint8)
    return changed


def their_ssim(a: Pixels, b: Pixels) -> float:
    return float(structural_similarity(a, b, channel_axis=-1, data_range=255))  # type: ignore[no-untyped-call]


def their_psnr(a: Pixels, b: Pixels) -> float:
    return float(peak_signal_noise_ratio(a, b, data_range=255))  # type: ignore[no-untyped-call]


@settings(max_examples=60)
@given(
    height=st.integers(7, 40),
    width=st.integers(7, 40),
    seed=st.integers(0, 2**32 - 1),
    spread=st.integers(1, 255),
    levels=st.sampled_from([1, 2, 16, 255]),
)
def test_agrees_with_skimage(height: int, width: int, seed: int, spread: int, levels: int) -> None:
    a = noise(seed, height, width, 3) % np.uint8(levels)
    b = near(a, seed + 1, spread)
    if np.array_equal(a, b):
        b = b ^ np.uint8(1)
    assert ssim(a, b) == pytest.approx(their_ssim(a, b), abs=1e-6)
    assert psnr(a, b) == pytest.approx(their_psnr(a, b), abs=1e-6)
    assert ssim(a, b) == ssim(b, a)


def test_a_picture_with_structure() -> None:
    y, x = np.mgrid[:64, :96]
    a = np.stack([y * 3, x * 2, 255 - y - x], axis=-1).astype(np.uint8)
    b = near(a, 1, 9)
    assert ssim(a, b) == pytest.approx(their_ssim(a, b), abs=1e-6)


def test_identical() -> None:
    a = noise(0, 9, 9, 3)
    assert psnr(a, a) == math.inf
    assert ssim(a, a) == 1.0


def test_stack_is_the_mean_of_its_frames_and_the_accumulator_agrees() -> None:
    a, b = noise(1, 5, 16, 16, 3), noise(2, 5, 16, 16, 3)
    b[3] = near(a[3], 3, 4)
    each = [their_psnr(x, y) for x, y in zip(a, b, strict=True)]
    assert psnr(a, b) == pytest.approx(np.mean(each))
    quality = Quality()
    for x, y in zip(a, b, strict=True):
        quality.add(x, y)
    assert quality.frames == 5 and quality.identical == 0
    assert quality.psnr_db == pytest.approx(psnr(a, b))
    assert quality.ssim == pytest.approx(ssim(a, b))
    assert quality.worst is not None and quality.worst.index == int(np.argmin(each))
    assert quality.worst.psnr_db == pytest.approx(min(each))


def test_identical_frames_do_not_hide_the_others() -> None:
    a = noise(1, 3, 8, 8, 3)
    b = a.copy()
    b[1] = 255 - b[1]
    quality = Quality()
    for x, y in zip(a, b, strict=True):
        quality.add(x, y)
    assert quality.identical == 2
    assert quality.psnr_db == pytest.approx(psnr(a[1], b[1]))
    assert psnr(a, b) == quality.psnr_db
    assert quality.worst is not None and quality.worst.index == 1


def test_all_identical() -> None:
    quality = Quality()
    quality.add(noise(1, 8, 8, 3), noise(1, 8, 8, 3))
    assert quality.psnr_db == math.inf and quality.ssim == 1.0
    assert quality.worst == WorstFrame(0, math.inf)


def test_memory_stays_flat() -> None:
    a, b = noise(1, 16, 16, 3), noise(2, 16, 16, 3)
    quality = Quality()
    tracemalloc.start()
    for _ in range(300):  # until NumPy's own caches are warm
        quality.add(a, b)
    first, _ = tracemalloc.get_traced_memory()
    for _ in range(600):
        quality.add(a, b)
    last, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert last - first < 50_000, "600 pictures have 460,800 bytes"


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (noise(0, 8, 8, 3), noise(0, 8, 9, 3), "Cannot compare shapes"),
        (noise(0, 2, 8, 8, 3), noise(0, 8, 8, 3), "Cannot compare shapes"),
        (noise(0, 8, 8), noise(0, 8, 8), "allowed"),
        (noise(0, 8, 8, 4), noise(0, 8, 8, 4), r"allowed: \[H, W, 3\]"),
        (noise(0, 0, 8, 8, 3), noise(0, 0, 8, 8, 3), "allowed"),
        (noise(0, 8, 8, 3).astype(np.float32), noise(0, 8, 8, 3), "allowed: uint8"),
    ],
)
def test_refusals(a: Pixels, b: Pixels, sentence: str) -> None:
    for compare in (psnr, ssim):
        with pytest.raises(UsageError, match=sentence):
            compare(a, b)


def test_refusals_of_the_accumulator() -> None:
    with pytest.raises(UsageError, match="No frames were compared"):
        _ = Quality().psnr_db
    with pytest.raises(UsageError, match="No frames were compared"):
        _ = Quality().ssim
    with pytest.raises(UsageError, match="at least 7"):
        ssim(noise(0, 6, 8, 3), noise(1, 6, 8, 3))
    with pytest.raises(UsageError, match="Cannot compare"):
        Quality().add(noise(0, 8, 8, 3), noise(1, 8, 9, 3))
