"""Videos of datasets: what is written is found at its seconds, in one file or several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidtok_edge.errors import MissingFromEnvironment, OutputNotWritable
from vidtok_edge.runtime.clips import video_files
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.clips.video_files import RunPlace, VideoFiles, codec_for

TOLERANCE_S = 1e-4  # of LeRobot, for the frame that it looks for
SIZES = [(16, 24), (64, 96)]
"""Of H.264 and of AV1."""


def name(number: int) -> str:
    return f"chunk-000/file-{number:03d}.mp4"


def picture(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """As bright as its number says, and darker from left to right."""
    ramp = np.linspace(40, 0, size[1]).astype(np.uint8)
    return np.broadcast_to((number * 7 % 200 + ramp)[:, None], (*size, 3)).astype(np.uint8)


def written(folder: Path, runs: list[int], size: tuple[int, int], **options: Any) -> list[RunPlace]:
    places, number = [], 0
    with VideoFiles(folder, name, size=size, **options) as files:
        for frames in runs:
            for _ in range(frames):
                files.write(picture(number, size))
                number += 1
            places.append(files.end_run())
    return places


def read(path: Path) -> tuple[list[float], list[bool], list[NDArray[Any]]]:
    """The seconds of each frame, whether it is a key frame, and its pixels."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    seconds = [float(frame.pts * frame.time_base) for frame in frames]  # type: ignore[operator]
    pixels = [frame.to_ndarray(format="rgb24") for frame in frames]
    return seconds, [frame.key_frame for frame in frames], pixels


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rate", [7.5, 7.491234, 10, 0.4])
def test_runs_follow_one_another_in_a_file(
    tmp_path: Path, size: tuple[int, int], rate: float
) -> None:
    places = written(tmp_path, [5, 1, 8], size, rate=rate)
    assert [place.number for place in places] == [0, 0, 0]
    bounds = [bound for place in places for bound in (place.from_s, place.to_s)]
    np.testing.assert_allclose(bounds, np.array([0, 5, 5, 6, 6, 14]) / rate, rtol=1e-9)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["file-000.mp4"]
    seconds, keys, pixels = read(tmp_path / name(0))
    np.testing.assert_allclose(seconds, np.arange(14) / rate, rtol=1e-9)
    assert keys[0] and keys[5] and keys[6], "a run can be read without the one before"
    for number, found in enumerate(pixels):
        assert np.abs(found.astype(int) - picture(number, size)).max() <= 12, number
        assert abs(found.mean() - picture(number, size).mean()) < 2, number


def test_the_reader_of_clips_reads_them(tmp_path: Path) -> None:
    written(tmp_path, [3, 4], (64, 96), rate=7.5)
    with ClipReader(tmp_path / name(0), size=(64, 96)) as clip:
        frames = list(clip)
        assert clip.fps == 7.5 and clip.report.lost is None
    assert len(frames) == 7


@settings(max_examples=30)
@given(
    rate=st.floats(0.05, 240).map(lambda rate: round(rate, 6)),
    begin=st.integers(0, 200_000),
    frame=st.integers(0, 200_000),
)
def test_lerobot_finds_each_frame(rate: float, begin: int, frame: int) -> None:
    """In float32, as it adds a row's time to where its episode begins; as far as files go."""
    if begin and (begin + frame + 1) / rate > video_files._MOST_S:
        return
    period = 1 / video_files._exact(rate)
    asked = np.float32(float(begin * period) + float(np.float32(frame / rate)))
    there = np.float32(float((begin + frame) * period))
    assert abs(asked - there) < TOLERANCE_S


def test_a_file_ends_with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_files, "_MOST_S", 1.0)
    runs = written(tmp_path / "long", [4, 5, 15, 2, 9], (16, 24), rate=10)
    assert [run.number for run in runs] == [0, 0, 1, 2, 3], "none is longer but a single run"
    assert [len(read(tmp_path / "long" / name(n))[0]) for n in range(4)] == [9, 15, 2, 9]
    monkeypatch.setattr(video_files, "_MOST_BYTES", 1)
    runs = written(tmp_path / "large", [2, 2, 2], (16, 24), rate=10, number=7)
    assert [run.number for run in runs] == [7, 8, 9]
    assert {run.from_s for run in runs} == {0}


def test_runs_can_have_files_of_their_own(tmp_path: Path) -> None:
    runs = written(tmp_path, [1, 2, 3], (16, 24), rate=7.5, alone=True)
    assert [(run.number, run.from_s) for run in runs] == [(0, 0), (1, 0), (2, 0)]
    assert [len(read(tmp_path / name(n))[0]) for n in range(3)] == [1, 2, 3]


def test_what_an_error_leaves_is_closed(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        VideoFiles(tmp_path, name, size=(16, 24), rate=10) as files,
    ):
        files.write(picture(0, (16, 24)))
        files.end_run()
        files.write(picture(1, (16, 24)))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*.*")] == ["file-000.mp4"], "no open run stays"


def test_frames_that_an_encoder_loses_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = video_files._Run._encode

    def lose(run: Any, frame: Any) -> None:
        if run.frames != 1:
            encode(run, frame)

    monkeypatch.setattr(video_files._Run, "_encode", lose)
    with pytest.raises(OutputNotWritable, match="frame 2 where 1 was due"):
        written(tmp_path, [4], (16, 24), rate=10)
    with pytest.raises(OutputNotWritable, match="gave 1 of 2 frames"):
        written(tmp_path, [2], (16, 24), rate=10)


def test_libsvtav1_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SVT_LOG", raising=False)
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this PyAV has no libsvtav1")
    written(tmp_path, [3], (64, 96), rate=10)
    with (
        pytest.raises(KeyboardInterrupt),
        VideoFiles(tmp_path, name, size=(64, 96), rate=10, number=1) as files,
    ):
        files.write(picture(0, (64, 96)))
        raise KeyboardInterrupt
    assert capfd.readouterr() == ("", "") and "SVT_LOG" not in os.environ


def test_codecs_that_lerobot_reads() -> None:
    both = {"libsvtav1", "libx264"}
    assert codec_for((64, 64), both).name == "av1"
    assert codec_for((48, 64), both).name == "h264", "libsvtav1 fails below 64 pixels"
    assert codec_for((64, 64), {"libx264", "mpeg4"}).name == "h264"
    for size, found in (((64, 64), {"mpeg4"}), ((48, 64), {"libsvtav1"})):
        with pytest.raises(MissingFromEnvironment, match="pip install --force-reinstall av"):
            codec_for(size, found)
