"""Fields to frames: a bar that moves between the two fields of a frame has no comb afterwards."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from clips import make_clip
from numpy.typing import NDArray

from vidtok_edge.runtime.clips.filtering import filtered
from vidtok_edge.runtime.clips.suitability import mending_of

SIZE = (64, 96)
FRAMES = 8


def bar(time: float, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Gray [H, W]: a bar at x = 8 times `time`."""
    pixels = np.full(size, 40, np.uint8)
    left = round(8 * time)
    pixels[:, left : left + 16] = 200
    return pixels


def filmed(size: tuple[int, int] = SIZE) -> list[VideoFrame]:
    """Interlaced: the lower field is half a frame later than the upper one; marked as such."""
    graph = Graph()
    source = graph.add_buffer(
        width=size[1], height=size[0], format=VideoFormat("gray"), time_base=Fraction(1, 25)
    )
    marking, sink = graph.add("setfield", "mode=tff"), graph.add("buffersink")
    source.link_to(marking)
    marking.link_to(sink)
    graph.configure()
    frames = []
    for number in range(FRAMES):
        pixels = bar(number, size)
        pixels[1::2] = bar(number + 0.5, size)[1::2]
        frame = VideoFrame.from_ndarray(pixels, format="gray")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        graph.push(frame)
        frames.append(graph.vpull())
    return frames


def combs(pixels: NDArray[Any]) -> float:
    """How much each row differs from the mean of those around it."""
    rows = pixels.astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


def deinterlaced(frames: list[VideoFrame], stream: VideoStream) -> list[VideoFrame]:
    """Through the filters that the first frame asks for."""
    return list(filtered(frames, stream, mending_of(filmed()[0]).steps))


@pytest.fixture
def stream(tmp_path: Path) -> VideoStream:
    """Any at 25 frames per second."""
    container = av.open(make_clip(tmp_path / "a.avi", 1, fps=25))
    return container.streams.video[0]


def test_what_moves_has_no_combs(stream: VideoStream) -> None:
    frames = filmed()
    assert all(frame.interlaced_frame for frame in frames)
    whole = deinterlaced(frames, stream)
    times = [float((frame.pts or 0) * (frame.time_base or 0)) for frame in whole]
    assert times == pytest.approx([n / 25 for n in range(FRAMES)])
    for number in range(1, FRAMES - 1):
        assert combs(frames[number].to_ndarray()) > 10
        pixels = whole[number].to_ndarray()
        assert combs(pixels) < 3
        assert np.abs(pixels.astype(int) - bar(number)).mean() < 3  # as the upper field has it


def test_frames_that_are_whole_pass_as_they_are(stream: VideoStream) -> None:
    frames = [VideoFrame.from_ndarray(bar(n), format="gray") for n in range(3)]
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, Fraction(1, 25)
    given = [frame.to_ndarray() for frame in deinterlaced(frames, stream)]
    assert np.array_equal(given, [bar(n) for n in range(3)])


def test_a_change_of_size_begins_anew(stream: VideoStream) -> None:
    frames = [*filmed(), *filmed((32, 128))]
    shapes = [frame.to_ndarray().shape for frame in deinterlaced(frames, stream)]
    assert shapes == [SIZE] * FRAMES + [(32, 128)] * FRAMES


def test_one_frame_and_none(stream: VideoStream) -> None:
    assert len(deinterlaced(filmed()[:1], stream)) == 1
    assert deinterlaced([], stream) == []
