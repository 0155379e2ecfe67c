"""Clips and pictures that training reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import UnreadableFile, read_clip, read_picture, write_png

from vidtok_edge.vidtok_ref import embedded_file


def test_a_clip_or_its_first_frames() -> None:
    path = embedded_file("clip_film.mp4")
    first = read_clip(path, 3)
    assert first.shape == (3, 256, 256, 3) and first.dtype == np.uint8
    assert np.array_equal(read_clip(path)[:3], first)


def test_a_picture_comes_back(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_png(tmp_path / "a.png", picture)
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("read", [read_clip, read_picture])
def test_files_that_cannot_be_read(read: object, tmp_path: Path) -> None:
    assert callable(read)
    with pytest.raises(UnreadableFile, match=r"a\.mp4 is missing"):
        read(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(UnreadableFile, match=r"a\.mp4 cannot be read"):
        read(tmp_path / "a.mp4")
