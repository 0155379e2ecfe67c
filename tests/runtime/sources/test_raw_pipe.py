"""Raw frames from pipes: whole ones, short ones, none, and a writer that waits."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from clips import index_of, make_clip, picture
from fake_sources import FakeClock
from numpy.typing import NDArray
from PIL import Image

from vidtok_edge.errors import MissingDependency, SourceError, UsageError
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.sources import open_source
from vidtok_edge.runtime.sources.frame import RawFormat
from vidtok_edge.runtime.sources.raw_frames import RAW_FORMATS, container_of
from vidtok_edge.runtime.sources.raw_pipe import RawPipeSource

Pixels = NDArray[np.uint8]

SIZE = (16, 24)
FRAMES = [picture(i, SIZE) for i in range(5)]
DATA = b"".join(frame.tobytes() for frame in FRAMES)


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end of standard input that is written to."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield write


def write(
    fifo: str, data: bytes, piece: int, before_each: Callable[[], object] = lambda: None
) -> threading.Thread:
    """Writes `data` in pieces."""

    def work() -> None:
        with open(fifo, "wb", buffering=0) as file:
            for start in range(0, len(data), piece):
                before_each()
                file.write(data[start : start + piece])

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("piece", [100, 1152, 5000, len(DATA)])
def test_frames_arrive_whole_however_they_are_cut(fifo: str, piece: int) -> None:
    source = RawPipeSource(fifo, SIZE, fps=30)
    thread = write(fifo, DATA, piece)
    frames = list(source)
    thread.join()
    assert source.fps == 30 and not source.live
    assert all(np.array_equal(f.pixels, FRAMES[f.number]) for f in frames) and len(frames) == 5


def test_standard_input(stdin: int) -> None:
    os.write(stdin, DATA)
    os.close(stdin)
    assert len(list(RawPipeSource("-", SIZE))) == 5


def test_a_pipe_that_ends_in_a_frame_says_so(stdin: int) -> None:
    os.write(stdin, DATA[:-100])
    os.close(stdin)
    given = []
    with pytest.raises(SourceError, match=r"middle of frame 4: 1052 of the 1152 bytes.*--raw HxW"):
        for frame in RawPipeSource("-", SIZE):
            given.append(frame.number)
    assert given == [0, 1, 2, 3]


def test_a_writer_that_pauses_is_waited_for(fifo: str) -> None:
    """Each frame is written when the one before it was given."""
    source, given = RawPipeSource(fifo, SIZE), threading.Semaphore(1)
    begun_ns, stamps_ns = list[int](), list[int]()

    def begin() -> None:
        assert given.acquire(timeout=10)
        begun_ns.append(time.monotonic_ns())

    thread = write(fifo, DATA, 1152, begin)
    for frame in source:
        stamps_ns.append(frame.capture_time_ns)
        given.release()
    thread.join()
    assert len(stamps_ns) == len(begun_ns) == 5
    assert all(np.array(stamps_ns) >= begun_ns), "a frame is stamped when it is there"


def test_closing_ends_the_wait(fifo: str, stdin: int) -> None:
    for spec in (fifo, "-"):
        source = RawPipeSource(spec, SIZE)
        threading.Timer(0.02, source.close).start()
        assert list(source) == []
    os.close(stdin)


def test_another_size_is_scaled(stdin: int) -> None:
    os.write(stdin, picture(7, (32, 64)).tobytes())
    os.close(stdin)
    [frame] = RawPipeSource("-", SIZE, raw=RawFormat(32, 64))
    assert frame.pixels.shape == (*SIZE, 3) and index_of(frame.pixels) == 7


def test_scaling_needs_pyav(stdin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("av", "av.video.frame"):
        monkeypatch.setitem(sys.modules, name, None)
    os.write(stdin, picture(7, (32, 64)).tobytes() + DATA)
    os.close(stdin)
    with pytest.raises(MissingDependency, match=r"32x64, the bundle takes 16x24.*vidtok-edge\[vid"):
        list(RawPipeSource("-", SIZE, raw=RawFormat(32, 64)))


def test_a_file_of_raw_frames_at_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "frames.rgb"
    path.write_bytes(DATA)
    time_ = FakeClock()
    source = RawPipeSource(str(path), SIZE, fps=5, realtime=True, clock=time_.clock)
    assert len(list(source)) == 5
    assert time_.waits == [0.2] * 4


def test_pipes_that_are_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="cannot be opened: No such file"):
        RawPipeSource(str(tmp_path / "nothing"), SIZE)
    with pytest.raises(UsageError, match="Give --fps"):
        RawPipeSource("-", SIZE, realtime=True)
    with pytest.raises(UsageError, match="0x4"):
        RawPipeSource("-", SIZE, raw=RawFormat(0, 4))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="no standard input"):
        RawPipeSource("-", SIZE)
    leader, follower = os.openpty()
    with os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(SourceError, match="is a terminal"):
            RawPipeSource("-", SIZE)
    os.close(leader)


def in_format(pixels: Pixels, name: str) -> bytes:
    """The bytes of a picture, as FFmpeg would pipe them."""
    if name == "gray":
        return pixels[:, :, 1].tobytes()
    if name in ("nv12", "yuv420p", "yuyv422"):
        frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=name)
        return frame.to_ndarray().tobytes()
    alpha = np.full((*pixels.shape[:2], 1), 77, np.uint8)
    channels = np.concatenate([pixels, alpha], axis=2)
    return channels[:, :, ["rgba".index(c) for c in name.removesuffix("24")]].tobytes()


@pytest.mark.parametrize("name", RAW_FORMATS)
def test_pixel_formats_of_pipes(stdin: int, name: str) -> None:
    """Colours that no two formats share; a wrong format would give others, and no error."""
    filmed = np.empty((*SIZE, 3), np.uint8)
    filmed[:, :12], filmed[:, 12:] = (200, 90, 40), (30, 60, 180)
    os.write(stdin, in_format(filmed, name) * 2)
    os.close(stdin)
    frames = list(RawPipeSource("-", SIZE, raw=RawFormat(*SIZE, name)))
    wanted = filmed[:, :, [1, 1, 1]] if name == "gray" else filmed
    assert len(frames) == 2
    assert np.abs(frames[0].pixels[:, [4, 20]].astype(int) - wanted[:, [4, 20]]).max() <= 3


@pytest.mark.parametrize("name", ["rgb24", "bgra", "nv12"])
def test_padded_rows(stdin: int, name: str) -> None:
    filmed = np.full((*SIZE, 3), (200, 90, 40), np.uint8)
    data = np.frombuffer(in_format(filmed, name), np.uint8)
    rows = data.reshape(24 if name == "nv12" else 16, -1)
    padded = np.pad(rows, ((0, 0), (0, 40)), constant_values=255)
    os.write(stdin, padded.tobytes() * 2)
    os.close(stdin)
    raw = RawFormat(*SIZE, name, padded.shape[1])
    frames = list(RawPipeSource("-", SIZE, raw=raw))
    assert len(frames) == 2
    assert all(np.abs(f.pixels.astype(int) - filmed).max() <= 3 for f in frames)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (RawFormat(16, 24, "rgb48"), "allowed: rgb24, bgr24"),
        (RawFormat(16, 24, "rgb24", 71), "has 72 bytes; --raw-stride 71 is less"),
        (RawFormat(15, 24, "nv12"), "have even sides"),
        (RawFormat(16, 24, "yuv420p", 40), "two lengths"),
    ],
)
def test_raw_formats_that_no_pipe_has(stdin: int, raw: RawFormat, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RawPipeSource("-", SIZE, raw=raw)
    os.close(stdin)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.mp4", "an MP4"),
        ("a.mkv", "a Matroska"),
        ("a.avi", "an AVI"),
        ("a.ts", "MPEG-TS"),
        ("a.png", "a PNG"),
        ("a.jpg", "a JPEG"),
        ("a.gif", "a GIF"),
    ],
)
def test_a_file_piped_as_it_is_holds_no_raw_frames(
    stdin: int, tmp_path: Path, name: str, what: str
) -> None:
    path = tmp_path / name
    if path.suffix in (".png", ".jpg", ".gif"):
        Image.fromarray(picture(0, (64, 96))).save(path)
    else:
        make_clip(path, 5, codec="mpeg4")
    data = path.read_bytes()
    os.write(stdin, (data + bytes(1152))[: max(1152, len(data) // 1152 * 1152)][:32768])
    os.close(stdin)
    with pytest.raises(SourceError, match=what):
        list(RawPipeSource("-", SIZE))


def test_dark_and_plain_frames_are_no_files() -> None:
    for value in range(256):
        assert container_of(bytes([value]) * 1024) is None


# -- Y4M, by its specification: a header of one line, and one line before the planes of each frame


def y4m(frames: int, header: str = "W96 H64 F25:1 Ip A1:1 C420jpeg") -> bytes:
    """`picture`s; limited range, planes of half the width and height for colours."""
    data = [f"YUV4MPEG2 {header}\n".encode()]
    for number in range(frames):
        frame = VideoFrame.from_ndarray(picture(number), format="rgb24")
        data += [b"FRAME\n", frame.reformat(format="yuv420p").to_ndarray().tobytes()]
    return b"".join(data)


@pytest.mark.parametrize("piece", [7, 5000, 1_000_000])
def test_y4m_from_a_pipe(fifo: str, piece: int) -> None:
    """A pipe's frames are not those of the bundle: the header says what comes."""
    source = RawPipeSource(fifo, (64, 96))
    thread = write(fifo, y4m(5), piece)
    frames = [frame.pixels for frame in source]
    thread.join()
    assert [index_of(pixels) for pixels in frames] == list(range(5))
    assert np.median(np.abs(frames[4].astype(int) - picture(4))) <= 1


def test_y4m_from_standard_input_is_fitted(stdin: int) -> None:
    os.write(stdin, y4m(3))
    os.close(stdin)
    frames = [frame.pixels for frame in RawPipeSource("-", SIZE)]
    assert [pixels.shape for pixels in frames] == [(*SIZE, 3)] * 3
    assert [index_of(pixels) for pixels in frames] == [0, 1, 2]


def test_y4m_as_a_file_is_a_clip(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(y4m(5, "W96 H64 F24000:1001 Ip A2:1 C420jpeg"))
    with ClipReader(path, size=(64, 192)) as clip:
        frames = list(clip)
        assert clip.native_size == (64, 192) and clip.fps == pytest.approx(24000 / 1001)
    assert [index_of(frame.pixels) for frame in frames] == list(range(5))
    assert frames[4].time_ns == round(4 * 1001e9 / 24000)


def test_y4m_as_a_file_that_is_cut_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(y4m(5)[:-100])
    with ClipReader(path, size=SIZE) as clip:
        assert len(list(clip)) == 4
    assert clip.report.lost == "the file ends in the middle of a frame"


@pytest.mark.parametrize("rate", ["", "F0:0"])
def test_y4m_without_a_rate_has_no_times(fifo: str, tmp_path: Path, rate: str) -> None:
    data = y4m(5, f"W96 H64 {rate} Ip A1:1 C420jpeg".replace("  ", " "))
    path = tmp_path / "a.y4m"
    path.write_bytes(data)
    thread = write(fifo, data, 100_000)
    for spec in (fifo, str(path)):
        source = open_source(spec, SIZE)
        assert source.fps is None
        assert [frame.stamp.media_time_ns for frame in source] == [None] * 5
    thread.join()
    with pytest.raises(UsageError, match=r"does not say its rate\. Give --fps"):
        open_source(str(path), SIZE, realtime=True)


def test_y4m_from_a_pipe_is_mended_as_a_file_is(fifo: str, tmp_path: Path) -> None:
    """Of two fields that show different moments, none is left as a comb."""
    rows = np.where(np.arange(64) % 2, 40, 200).astype(np.uint8)
    frame = b"FRAME\n" + np.repeat(rows, 96).tobytes() + bytes([128]) * (96 * 64 // 2)
    data = b"YUV4MPEG2 W96 H64 F25:1 It A1:1 C420jpeg\n" + frame * 4
    path = tmp_path / "a.y4m"
    path.write_bytes(data)
    thread = write(fifo, data, 100_000)
    seen = []
    for spec in (fifo, str(path)):
        source = open_source(spec, SIZE)
        seen.append(np.stack([frame.pixels for frame in source]))
        assert len(seen[-1]) == 4 and "it is interlaced" in " ".join(source.doubts)
    thread.join()
    assert np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("alpha", [90, 255])
def test_transparency_in_y4m_from_a_pipe_is_said(fifo: str, alpha: int) -> None:
    plane = bytes([120]) * (96 * 64)
    frame = b"FRAME\n" + plane * 3 + bytes([alpha]) * (96 * 64)
    thread = write(fifo, b"YUV4MPEG2 W96 H64 F25:1 Ip C444alpha\n" + frame * 2, 100_000)
    source = RawPipeSource(fifo, SIZE)
    assert len(list(source)) == 2
    thread.join()
    assert any("transparency" in doubt for doubt in source.doubts) == (alpha < 255)


def test_y4m_is_paced(fifo: str) -> None:
    time_ = FakeClock()
    source = RawPipeSource(fifo, SIZE, fps=5, realtime=True, clock=time_.clock)
    thread = write(fifo, y4m(5), 100_000)
    assert len(list(source)) == 5
    thread.join()
    assert time_.waits == [0.2] * 4


BROKEN_Y4M = {
    "cut": (y4m(3)[:-100], 2, "on after 2 frames: it ended in the middle of a frame"),
    "noise": (y4m(1) + b"NOISE" * 2000, 1, "on after 1 frames"),
    "no width": (b"YUV4MPEG2 W0 H64\nFRAME\n", 0, "on after 0 frames"),
    "no line": (b"YUV4MPEG2 but no line" * 100, 0, "on after 0 frames"),
    "unknown colours": (
        b"YUV4MPEG2 W96 H64 Cwrong\nFRAME\n" + bytes(20000),
        0,
        "on after 0 frames",
    ),
}


@pytest.mark.parametrize("what", BROKEN_Y4M)
def test_y4m_that_is_cut_or_damaged(stdin: int, what: str) -> None:
    data, given, message = BROKEN_Y4M[what]
    os.write(stdin, data)
    os.close(stdin)
    numbers = []
    with pytest.raises(SourceError, match=f"standard input holds Y4M that cannot be .*{message}"):
        for frame in RawPipeSource("-", SIZE):
            numbers.append(frame.number)
    assert numbers == list(range(given))


def test_y4m_says_itself_what_it_is(stdin: int) -> None:
    os.write(stdin, y4m(1))
    os.close(stdin)
    with pytest.raises(UsageError, match=r"holds Y4M, whose header says .*leave out --raw"):
        list(RawPipeSource("-", SIZE, raw=RawFormat(64, 96)))


def test_closing_ends_the_wait_for_y4m(fifo: str) -> None:
    source = RawPipeSource(fifo, SIZE)
    with open(fifo, "wb", buffering=0) as file:
        file.write(y4m(1)[:-100])
        threading.Timer(0.05, source.close).start()
        assert list(source) == []
