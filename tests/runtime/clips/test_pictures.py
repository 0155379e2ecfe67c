"""Side by side pictures and contact sheets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidtok_edge.errors import OutputExists, OutputNotWritable, UsageError
from vidtok_edge.runtime.clips.pictures import (
    GAP,
    Samples,
    contact_sheet,
    frame_caption,
    side_by_side,
)


def test_side_by_side() -> None:
    a, b = picture(0), picture(9)
    both = side_by_side(a, b)
    assert both.shape == (64, 2 * 96 + GAP, 3) and both.dtype == np.uint8
    assert both.flags["C_CONTIGUOUS"]
    assert np.array_equal(both[:, :96], a) and np.array_equal(both[:, -96:], b)
    assert (both[:, 96:-96] == 255).all()


def test_contact_sheet_holds_the_pictures(tmp_path: Path) -> None:
    original, reconstruction = np.full((2, 200, 240, 3), 100, np.uint8)
    reconstruction = reconstruction + np.uint8(10)
    column = (frame_caption(3, 100_000_000, 28.0), original, reconstruction)
    contact_sheet(tmp_path / "sheet.png", [column] * 3, "a title")
    assert os.listdir(tmp_path) == ["sheet.png"]
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    for value in (100, 110, 40):  # original, reconstruction, difference times 4
        assert np.count_nonzero((sheet == value).all(axis=-1)) >= 3 * 200 * 240


def test_small_pictures_are_enlarged_and_long_titles_fit(tmp_path: Path) -> None:
    tiny = picture(0, (32, 48))
    contact_sheet(tmp_path / "a.png", [("x", tiny, tiny)], "t")
    contact_sheet(tmp_path / "b.png", [("x", tiny, tiny)], "t" * 100)
    with Image.open(tmp_path / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        assert a.width > 192 and a.height > 3 * 128
        assert b.width > a.width


def test_refusals(tmp_path: Path) -> None:
    a, path = picture(0), tmp_path / "sheet.png"
    with pytest.raises(UsageError, match="at least one column"):
        contact_sheet(path, [], "t")
    with pytest.raises(UsageError, match="not equal"):
        contact_sheet(path, [("x", a, a[:-1])], "t")
    with pytest.raises(UsageError, match="all must be equal"):
        contact_sheet(path, [("x", a, a), ("y", a[:-1], a[:-1])], "t")
    with pytest.raises(UsageError, match="allowed: uint8"):
        side_by_side(a.astype(np.float32), a)
    with pytest.raises(UsageError, match="Show fewer"):
        contact_sheet(path, [("x", a, a)] * 100, "t")
    with pytest.raises(OutputNotWritable):
        contact_sheet(tmp_path / "none" / "sheet.png", [("x", a, a)], "t")
    assert os.listdir(tmp_path) == []
    contact_sheet(path, [("x", a, a)], "t")
    with pytest.raises(OutputExists):
        contact_sheet(path, [("x", a, a)], "t")
    contact_sheet(path, [("x", a, a)], "t", force=True)


def test_without_pillow() -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from vidtok_edge.errors import MissingDependency\n"
        "try:\n    import vidtok_edge.runtime.clips.pictures\n"
        "except MissingDependency as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs pillow" in done.stdout and 'pip install "vidtok-edge[video]"' in done.stdout


@given(frames=st.integers(1, 2000), wanted=st.integers(1, 8))
def test_samples_are_spread_over_the_whole_clip(frames: int, wanted: int) -> None:
    grey = np.zeros((8, 8, 3), np.uint8)
    samples = Samples(wanted)
    for index in range(frames):
        samples.offer(index, index, grey, grey)
        assert len(samples.kept) <= 2 * wanted
    shown = [int(caption.split()[1].rstrip(",")) for caption, _, _ in samples.columns()]
    assert len(shown) == min(frames, wanted) and shown == sorted(set(shown)) and shown[0] == 0
    assert wanted == 1 or shown[-1] >= (frames - 1) / 2
