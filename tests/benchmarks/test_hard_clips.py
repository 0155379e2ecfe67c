"""The hard clips that ship are those that the script makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("PIL")
pytest.importorskip("torch", reason="asks vidtok_ref for the clips")

from hard_clips import KINDS, SIZE, frames_of, write

from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.vidtok_ref import embedded_file


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with ClipReader(path, size=(SIZE, SIZE)) as clip:
        return np.stack([frame.pixels for frame in clip])


def test_the_clip_that_is_never_calibrated_on() -> None:
    made = frames_of(2, 5)
    assert made.shape == (5 * len(KINDS) + 1, SIZE, SIZE, 3)
    assert psnr(made, pixels_of(embedded_file("clip_hard_unseen.mp4"))) > 25


def test_the_two_have_the_same_kinds_and_no_frame_in_common(tmp_path: Path) -> None:
    seen, unseen = (
        pixels_of(embedded_file(name)) for name in ("clip_hard.mp4", "clip_hard_unseen.mp4")
    )
    for number in range(len(KINDS)):
        a, b = seen[8 * number + 2], unseen[5 * number + 2]
        assert abs(float(a.mean()) - float(b.mean())) < 40, "as bright"
        assert psnr(a[None], b[None]) < 20 or a.mean() < 20, "another picture"


def test_a_clip_is_written_whole(tmp_path: Path) -> None:
    made = frames_of(3, 1)
    write(tmp_path / "clip.mp4", made)
    assert pixels_of(tmp_path / "clip.mp4").shape == made.shape
