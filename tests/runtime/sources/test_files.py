"""Sources that lie on a disk or in memory: clips, folders, arrays, the test picture; pacing."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import cut, index_of, make_clip, make_two_sizes, picture
from fake_sources import FakeClock
from PIL import Image

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.sources import ArraySource, Captured, Captures, Ended, Opened, Source
from vidtok_edge.runtime.sources.clock import CLOCK
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.sources.image_folder import ImageFolderSource
from vidtok_edge.runtime.sources.reading import Reading
from vidtok_edge.runtime.sources.synthetic import SyntheticSource, TestPicture
from vidtok_edge.runtime.sources.video_file import VideoFileSource
from vidtok_edge.runtime.streaming.latents import Stamp

SIZE = (64, 96)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", 10, fps=25)


def test_a_clip_gives_the_frames_that_its_reader_gives(clip: Path) -> None:
    with ClipReader(clip, size=(32, 48)) as reader:
        expected = [frame.pixels for frame in reader]
    source = VideoFileSource(str(clip), (32, 48))
    assert (source.name, source.live, source.fps) == (str(clip), False, 25)
    frames = list(source)
    assert [frame.number for frame in frames] == list(range(10))
    assert all(np.array_equal(f.pixels, e) for f, e in zip(frames, expected, strict=True))
    with pytest.raises(UsageError, match="read already"):
        iter(source)


def test_a_clip_can_be_sampled(clip: Path) -> None:
    source = VideoFileSource(str(clip), SIZE, fps=5)
    assert source.fps == 5
    assert [index_of(frame.pixels) for frame in source] == [0, 5]


def test_a_clip_paced_by_its_own_time_stamps(tmp_path: Path) -> None:
    times = [0, 10, 50, 60, 160]
    clip = make_clip(tmp_path / "vfr.mkv", 5, times_ms=times)
    time_ = FakeClock()
    frames = list(VideoFileSource(str(clip), SIZE, realtime=True, clock=time_.clock))
    start = frames[0].capture_time_ns
    assert [f.capture_time_ns - start for f in frames] == [t * 10**6 for t in times]
    assert time_.waits == pytest.approx([0.01, 0.04, 0.01, 0.1])


class OpenThing(Reading):
    """Three frames of something whose closing takes a while."""

    def __init__(self) -> None:
        super().__init__("a thing", None, CLOCK)
        self.releases = self.reading = 0

    def _read(self) -> Iterator[Frame]:
        self.reading += 1
        for number in range(3):
            yield Frame(
                np.zeros((2, 2, 3), np.uint8), Stamp(capture_time_ns=number, wall_time_ns=0), number
            )
        self.reading -= 1

    def _release(self) -> None:
        assert not self.reading
        self.releases += 1
        time.sleep(0.02)


@pytest.mark.parametrize("reads", [False, True], ids=["unread", "read"])
def test_a_source_is_released_once_though_several_threads_close_it(reads: bool) -> None:
    thing, begun = OpenThing(), threading.Barrier(5)

    def close() -> None:
        begun.wait()
        if reads:
            with contextlib.suppress(UsageError):  # another thread reads it
                list(thing)
        thing.close()

    threads = [threading.Thread(target=close) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert thing.releases == 1


@pytest.mark.parametrize("damage", ["cut", "size", "garbage", "absent"])
def test_a_damaged_clip_is_reported(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "clip.mkv"
    given = 0
    if damage == "cut":
        cut(make_clip(path, 60), 0.5)
    elif damage == "size":
        make_two_sizes(path, (64, 96), (32, 48), 5)
    elif damage == "garbage":
        path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(SourceError, match=r"clip\.mkv"):
        for _ in VideoFileSource(str(path), SIZE):
            given += 1
    assert (given > 0) == (damage in ("cut", "size")), "what could be read was given before"


def test_closing_while_reading(clip: Path) -> None:
    source = VideoFileSource(str(clip), SIZE)
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def test_closing_without_reading(clip: Path) -> None:
    with VideoFileSource(str(clip), SIZE) as source:
        pass
    assert list(source) == []


# --- pacing -----------------------------------------------------------------------------------


def paced(count: int, fps: float, clock: Any) -> ArraySource:
    frames = np.zeros((count, 4, 4, 3), np.uint8)
    return ArraySource(frames, (4, 4), fps=fps, realtime=True, clock=clock)


def test_a_late_consumer_makes_no_drift() -> None:
    time_ = FakeClock()
    start = time_.ns
    for frame in paced(100, 10, time_.clock):
        assert frame.capture_time_ns == start + frame.number * 100_000_000, "when it was due"
        assert time_.ns >= frame.capture_time_ns, "never early"
        assert frame.wall_time_ns - time_.wall_ns() == frame.capture_time_ns - time_.ns
        time_.pass_s(1.05 if frame.number == 20 else 0.03)
    assert time_.ns == start + 9_930_000_000


def test_a_wall_clock_that_jumps_does_not_disturb_the_pace() -> None:
    time_ = FakeClock()
    start, walls = time_.ns, []
    for frame in paced(20, 10, time_.clock):
        assert time_.ns == start + frame.number * 100_000_000
        walls.append(frame.wall_time_ns)
        if frame.number == 10:
            time_.wall_jump_ns = -3600 * 10**9
    assert walls[11] - walls[10] == 100_000_000 - 3600 * 10**9


def test_closing_ends_a_wait() -> None:
    source = paced(2, 0.001, CLOCK)
    frames = iter(source)
    assert next(frames).number == 0
    threading.Timer(0.05, source.close).start()
    assert list(frames) == []


def test_unpaced_frames_are_stamped_when_they_are_read() -> None:
    time_ = FakeClock()
    for frame in ArraySource(np.zeros((3, 4, 4, 3), np.uint8), (4, 4), clock=time_.clock):
        assert (frame.capture_time_ns, frame.wall_time_ns) == (time_.ns, time_.wall_ns())
        time_.pass_s(1)
    assert time_.waits == []


# --- images -----------------------------------------------------------------------------------


def write_images(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> Path:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(picture(index, size)).save(folder / name)
    return folder


def test_images_come_in_natural_order(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", ["a1.png", "a2.bmp", "a10.png"])
    (folder / "notes.txt").write_text("no image")
    source = ImageFolderSource(str(folder), SIZE, fps=10)
    assert source.fps == 10
    assert [index_of(frame.pixels) for frame in source] == [0, 1, 2]


def test_images_are_fitted_and_paced(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", ["1.png", "2.png"], (128, 192))
    time_ = FakeClock()
    frames = list(ImageFolderSource(str(folder), (32, 32), fps=4, realtime=True, clock=time_.clock))
    assert [f.pixels.shape for f in frames] == [(32, 32, 3)] * 2
    assert [index_of(f.pixels) for f in frames] == [0, 1]
    assert time_.waits == [0.25]


def wide(folder: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "3.png")


def without_width(folder: Path) -> None:
    """For this some versions of Pillow raise TypeError."""
    Image.fromarray(picture(0)).save(folder / "3.tif")
    data = (folder / "3.tif").read_bytes()
    tag = struct.pack("<HH", 256, 4)
    assert data.count(tag) == 1
    (folder / "3.tif").write_bytes(data.replace(tag, struct.pack("<HH", 999, 4)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: write_images(folder, ["x.png", "3.png"], (32, 32)), "3.png: .*32x32"),
        (lambda folder: (folder / "3.png").write_bytes(b"nonsense"), "3.png: .*cannot be read"),
        (lambda folder: cut(folder / "2.png", 0.6), "2.png: .*cannot be read"),
        (wide, "3.png: .*8 bits"),
        (without_width, "3.tif: .*cannot be read"),
    ],
)
def test_an_image_that_is_none(tmp_path: Path, spoil: Any, message: str) -> None:
    folder = write_images(tmp_path / "in", ["1.png", "2.png"])
    spoil(folder)
    with pytest.raises(SourceError, match=message):
        list(ImageFolderSource(str(folder), SIZE))


def test_hidden_files_are_no_images_and_ties_are_broken_by_name(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", ["img001.png", "img01.png", "img1.png", "img2.png"])
    (folder / "._img1.png").write_bytes(b"what macOS leaves")
    (folder / "old.png").mkdir()
    source = ImageFolderSource(str(folder), SIZE)
    assert [index_of(frame.pixels) for frame in source] == [0, 1, 2, 3]


@pytest.mark.parametrize("save", ["EPS", "GIF", "PDF"])
def test_other_formats_that_are_named_png_are_not_opened(tmp_path: Path, save: str) -> None:
    """Pillow goes by content: it gives PostScript to Ghostscript."""
    folder = write_images(tmp_path / "in", ["1.png"])
    Image.fromarray(picture(0)).save(folder / "2.png", save)
    with pytest.raises(SourceError, match=r"2\.png: .*cannot identify"):
        list(ImageFolderSource(str(folder), SIZE))


def test_images_that_are_too_large_or_several_are_refused_by_their_header(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", ["1.png"])
    Image.new("L", (9000, 9000)).save(folder / "2.png")
    with pytest.raises(SourceError, match=r"2\.png: it claims 9000x9000 \(H x W\) in \d+ bytes"):
        list(ImageFolderSource(str(folder), SIZE))
    one = Image.fromarray(picture(0))
    one.save(folder / "2.png", save_all=True, append_images=[Image.fromarray(picture(1))])
    with pytest.raises(SourceError, match=r"2\.png: it holds 2 pictures"):
        list(ImageFolderSource(str(folder), SIZE))


def test_folders_that_are_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        ImageFolderSource(str(tmp_path), SIZE)
    with pytest.raises(UsageError, match="Give --fps"):
        ImageFolderSource(str(write_images(tmp_path / "in", ["1.png"])), SIZE, realtime=True)


# --- arrays, the test picture -----------------------------------------------------------------


def test_arrays_are_given_as_they_are() -> None:
    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    source: Reading = ArraySource(iter(frames), (4, 6), fps=30)
    assert source.fps == 30
    assert all(np.array_equal(f.pixels, frames[f.number]) for f in source)


def test_a_program_captures_its_own_frames() -> None:
    frames = np.arange(3 * 4 * 6 * 3, dtype=np.uint8).reshape(3, 4, 6, 3)
    source: Source = ArraySource(frames, (4, 6), fps=30, name="simulator")
    assert (source.name, source.live, source.fps) == ("simulator", False, 30)
    with Captures([lambda: source]) as captures:
        begun, *events = iter(captures.next, None)
    assert isinstance(begun, Opened) and (begun.fps, begun.can_be_late) == (30, False)
    taken = [event.frame.pixels for event in events if isinstance(event, Captured)]
    np.testing.assert_array_equal(taken, frames)
    assert isinstance(events[-1], Ended) and events[-1].error is None


@pytest.mark.parametrize("wrong", [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 3)), None])
def test_what_is_no_frame(wrong: Any) -> None:
    good = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(SourceError, match=r"frame 1 is .*uint8 \[4, 4, 3\]"):
        list(ArraySource([good, wrong], (4, 4)))


def test_the_test_picture_moves_and_repeats_itself_exactly() -> None:
    pictures = TestPicture((24, 40))
    first = pictures.frame(5)
    assert first.shape == (24, 40, 3) and first.flags.c_contiguous
    assert np.array_equal(first, TestPicture((24, 40)).frame(5))
    assert not np.array_equal(first, pictures.frame(6))
    assert first.std() > 20, "it is no blank"
    assert pictures.frame(10**9).shape == (24, 40, 3)


def test_the_test_picture_comes_at_its_rate() -> None:
    time_ = FakeClock()
    source = SyntheticSource((8, 8), 20, clock=time_.clock)
    for frame in source:
        if frame.number == 40:
            source.close()
    assert time_.waits[:40] == pytest.approx([0.05] * 40)
    with pytest.raises(UsageError, match=r"allowed: 0\.001"):
        SyntheticSource((8, 8), 0)
