"""Batches of moving pictures, and the folders that they come from."""

from __future__ import annotations

from pathlib import Path
from random import Random

import moving_pictures
import numpy as np
import pytest
import torch
from clips import cut, make_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_pictures import KINDS, DataError, MovingPictures, Window, read_folder
from numpy.typing import NDArray
from picture_files import write_png

SMALL = Window(frames=5, height=16, width=24, share=1.0)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips and a photograph."""
    for name, frames in (("film/a.mp4", 12), ("robot/b.mp4", 9)):
        (tmp_path / name).parent.mkdir()
        make_clip(tmp_path / name, frames)
    (tmp_path / "photo").mkdir()
    write_png(tmp_path / "photo" / "c.png", noise(80, 100, 3))
    return tmp_path


def test_a_folder_by_kind(folder: Path) -> None:
    (folder / "film" / "notes.txt").write_text("no clip")
    found, problems = read_folder(folder)
    assert problems == []
    assert {k: [v.shape for v in files] for k, files in found.items()} == {
        "film": [(12, 64, 96, 3)],
        "robot": [(9, 64, 96, 3)],
        "photo": [(80, 100, 3)],
    }


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30)
def test_a_batch_is_of_its_shape_and_range(seed: int) -> None:
    pixels = {"film": [noise(12, 40, 60, 3)], "robot": [noise(7, 16, 24, 3)]}
    pictures = MovingPictures({**pixels, "photo": [noise(64, 64, 3)]}, [SMALL])
    made = pictures.batch(Random(seed), 3, SMALL)
    assert made.shape == (3, 3, 5, 16, 24) and made.dtype == torch.float32
    assert bool(torch.isfinite(made).all()) and float(made.abs().max()) <= 1
    assert torch.equal(made, pictures.batch(Random(seed), 3, SMALL))
    assert float(made.std()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_alone(kind: str) -> None:
    size = (64, 64, 3) if kind == "photo" else (9, 64, 64, 3)
    pictures = MovingPictures({kind: [noise(*size)]}, [SMALL])
    first, second = (pictures.batch(Random(seed), 2, SMALL) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_frames_follow_one_another() -> None:
    """A clip of grey frames, each a little lighter: a part of it goes one way."""
    ramp = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.uint8(4)
    clip = np.broadcast_to(ramp, (60, 32, 32, 3)).copy()
    pictures = MovingPictures({"film": [clip]}, [SMALL])
    for seed in range(20):
        part = pictures._part(Random(seed), "film", SMALL)
        steps = part.mean((1, 2, 3)).diff()
        assert bool((steps >= -1e-6).all())
        assert float(part.std((1, 2, 3)).max()) < 1e-3


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_a_cut_leaves_frames_of_both_scenes(seed: int) -> None:
    pictures = MovingPictures({"film": [noise(9, 32, 32, 3)]}, [SMALL])
    scenes = iter(torch.full((5, 16, 24, 3), value) for value in (0.25, 0.75))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving_pictures, "_CUTS", 1.0)
        patch.setattr(pictures, "_scene", lambda random, window: next(scenes))
        values = pictures._clip(Random(seed), SMALL).mean((1, 2, 3)).tolist()
    assert values == sorted(values) and {0.25, 0.75} == set(values)


def test_a_clip_shorter_than_its_window() -> None:
    with pytest.raises(DataError, match=r"'film' holds a window of 9x16x24: it needs 9 frames"):
        MovingPictures(
            {"film": [noise(8, 64, 64, 3)]}, [Window(frames=9, height=16, width=24, share=1.0)]
        )


def test_a_clip_smaller_than_half_its_window() -> None:
    with pytest.raises(DataError, match="at least 8x12"):
        MovingPictures({"film": [noise(9, 7, 24, 3)]}, [SMALL])


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        read_folder(tmp_path / "gone")
    (tmp_path / "data.tar").write_bytes(b"")
    with pytest.raises(DataError, match="must be unpacked"):
        read_folder(tmp_path)


def test_damaged_and_short_files_are_named_or_left_out(folder: Path) -> None:
    cut(folder / "film" / "a.mp4", 0.1)
    make_clip(folder / "film" / "short.mp4", 4)
    with pytest.raises(DataError, match="2 of 4 files cannot be trained on") as raised:
        read_folder(folder)
    assert "a.mp4 cannot be read" in str(raised.value)
    assert "short.mp4 has 4 frames; 9 are needed" in str(raised.value)
    found, problems = read_folder(folder, skip_damaged=True)
    assert list(found) == ["robot", "photo"] and len(problems) == 2
