"""Clips are written whole or not at all, and read back as they were."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_reading import read
from clips import noisy, picture
from outputs import file_limit

from vidtok_edge.errors import (
    ClipError,
    MissingFromEnvironment,
    OutputExists,
    OutputNotWritable,
    UsageError,
)
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.clips.writing import ClipWriter, encoder_from


def smooth(index: int, size: tuple[int, int]) -> Any:
    y, x = np.mgrid[: size[0], : size[1]]
    return (
        np.stack([(2 * x + index) % 256, 2 * y, 0 * y + 90], axis=-1).clip(0, 255).astype(np.uint8)
    )


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("fps", [30, 30000 / 1001, 12.5, 120])
def test_written_clip_is_read_back(tmp_path: Path, name: str, fps: float) -> None:
    originals = [smooth(i, (64, 96)) for i in range(12)]
    with ClipWriter(tmp_path / name, fps=fps, size=(64, 96)) as writer:
        for pixels in originals:
            writer.write(pixels)
        assert (writer.encoder, writer.fell_back) == ("libx264", False)
    assert writer.frames_written == 12 and os.listdir(tmp_path) == [name]
    with ClipReader(tmp_path / name, size=(64, 96)) as clip:
        assert clip.native_fps == pytest.approx(fps, rel=1e-3)
        copies = [frame.pixels for frame in clip]
        assert clip.report.lost is None
    assert len(copies) == 12
    assert min(psnr(a, b) for a, b in zip(originals, copies, strict=True)) > 32


def test_odd_sides_are_padded_to_even(tmp_path: Path) -> None:
    with ClipWriter(tmp_path / "a.mp4", fps=30, size=(33, 47)) as writer:
        writer.write(np.full((33, 47, 3), 120, np.uint8))
    [frame], _ = read(tmp_path / "a.mp4", size=(34, 48))
    with ClipReader(tmp_path / "a.mp4", size=(34, 48)) as clip:
        assert clip.native_size == (34, 48)
    assert np.abs(frame.pixels.astype(int) - 120).max() <= 3


def test_without_libx264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("av.codecs_available", {"mpeg4", "h264"})
    with ClipWriter(tmp_path / "a.mp4", fps=30000 / 1001, size=(64, 96)) as writer:
        assert (writer.encoder, writer.fell_back) == ("mpeg4", True)
        for i in range(5):
            writer.write(smooth(i, (64, 96)))
    frames, _ = read(tmp_path / "a.mp4")
    assert len(frames) == 5 and psnr(frames[4].pixels, smooth(4, (64, 96))) > 30
    with pytest.raises(MissingFromEnvironment, match="none of the video encoders libx264, mpeg4"):
        encoder_from(["h264"])


@pytest.mark.parametrize("limit", [0, 300, 20_000])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, name: str, limit: int) -> None:
    pixels = noisy(40)
    with (
        file_limit(limit),
        pytest.raises(OutputNotWritable, match="larger than this disk"),
        ClipWriter(tmp_path / name, fps=30, size=(64, 64)) as writer,
    ):
        for frame in pixels:
            writer.write(frame)
    assert os.listdir(tmp_path) == []


def test_disk_full_says_how_much_is_free(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputNotWritable, match=r"disk is full \([0-9.]+ MB free"),
        ClipWriter(tmp_path / "a.mp4", fps=30, size=(64, 64)),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ClipError])
def test_interrupted_writing_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), ClipWriter(tmp_path / "a.mp4", fps=30, size=(64, 96)) as writer:
        writer.write(picture(0))
        raise error
    assert os.listdir(tmp_path) == []


def test_writer_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"path": tmp_path / "a.gif"}, r"suffix '\.gif'.* Use one of \.mp4, \.mkv"),
        ({"fps": 0}, "allowed: 0.01 to 1000"),
        ({"fps": float("nan")}, "allowed: 0.01"),
        ({"size": (0, 10)}, "1 to 16384"),
    ]
    for change, sentence in wrong:
        arguments: Any = {"path": path, "fps": 30, "size": (64, 96), **change}
        with pytest.raises(UsageError, match=sentence):
            ClipWriter(**arguments)
    with (
        pytest.raises(
            UsageError, match=r"uint8 \(32, 32, 3\); this clip takes uint8 \(64, 96, 3\)"
        ),
        ClipWriter(path, fps=30, size=(64, 96)) as writer,
    ):
        writer.write(picture(0, (32, 32)))
    with (
        pytest.raises(UsageError, match="no frame was written"),
        ClipWriter(path, fps=30, size=(64, 96)),
    ):
        pass
    with pytest.raises(UsageError, match="not open"):
        ClipWriter(path, fps=30, size=(64, 96)).write(picture(0))
    assert os.listdir(tmp_path) == []
    path.write_text("old")
    with pytest.raises(OutputExists), ClipWriter(path, fps=30, size=(64, 96)):
        pass
    with ClipWriter(path, fps=30, size=(64, 96), force=True) as writer:
        writer.write(picture(0))
    assert len(read(path)[0]) == 1
