"""Clips that are not all the way what they are at their beginning, and that end before others do.

A clip is whole or it is not, whatever lies beside its pictures; and what changes in it is said.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from clips import Codec, cut, index_of, make_clip, picture
from numpy.typing import NDArray

from vidtok_edge.runtime.clips import fitting
from vidtok_edge.runtime.clips.reading import ClipReader

RATE = 16000
GROUP = 5  # frames from one that can be decoded by itself to the next


def written(
    path: Path,
    times_ms: list[int],
    *,
    codec: Codec = "ffv1",
    sound_s: float = 0,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    picture_of: Callable[[int], NDArray[np.uint8]] = picture,
    pixel_format: str = "yuv420p",
    rate: int = 25,
) -> Path:
    """A clip whose packets are in the order of time, sound between pictures."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = picture_of(0).shape[:2]
        stream.pix_fmt, stream.gop_size, stream.bit_rate = pixel_format, GROUP, 4_000_000
        if codec not in ("mpeg1video", "mpeg2video"):
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        sound = container.add_stream("aac", rate=RATE, layout="mono") if sound_s else None
        container.start_encoding()
        played = 0
        for index, at_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture_of(index), format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
            while sound is not None and played < RATE * min(sound_s, at_ms / 1000):
                played = _play(container, sound, played)
        container.mux(stream.encode(None))
        while sound is not None and played < RATE * sound_s:
            played = _play(container, sound, played)
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def _play(container: Any, sound: Any, played: int) -> int:
    frame = AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, played, Fraction(1, RATE)
    container.mux(sound.encode(frame))
    return played + 1024


def read(path: Path, size: tuple[int, int] = (64, 96)) -> tuple[list[NDArray[np.uint8]], Any]:
    """The frames, and the reader when it is done."""
    with ClipReader(path, size=size, rate="every-frame") as clip:
        return [frame.pixels for frame in clip], clip


EVEN = [i * 40 for i in range(40)]
UNEVEN = [i * 40 + 7 * (i % 5) + 300 * (i > 20) for i in range(40)]


@pytest.mark.parametrize("times", [EVEN, UNEVEN, EVEN[:1], EVEN[:2]], ids=len)
@pytest.mark.parametrize("begin_ms", [0, 5000])
@pytest.mark.parametrize("sound_s", [0, 0.3, 4])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov"])
def test_sound_and_a_late_begin_are_no_loss(
    tmp_path: Path, name: str, sound_s: float, begin_ms: int, times: list[int]
) -> None:
    codec: Codec = "ffv1" if name == "a.mkv" else "libx264"
    path = written(tmp_path / name, [begin_ms + at for at in times], codec=codec, sound_s=sound_s)
    frames, clip = read(path)
    assert [index_of(frame) for frame in frames] == list(range(len(times)))
    assert clip.report.lost is None and clip.doubts == ()


@pytest.mark.parametrize(("begin_ms", "sound_s"), [(0, 0), (5000, 0), (0, 4), (5000, 7)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_what_was_cut_off_is_told_beside_sound_and_behind_a_late_begin(
    tmp_path: Path, begin_ms: int, sound_s: float, share: float
) -> None:
    path = written(tmp_path / "a.mkv", [begin_ms + 40 * i for i in range(100)], sound_s=sound_s)
    frames, clip = read(cut(path, share))
    assert 0 < len(frames) < 95 and clip.report.lost is not None
    if not sound_s:
        assert clip.report.lost.startswith(f"{100 - len(frames)} of 100 announced frames")
    else:
        assert clip.report.lost.startswith("the file ends at ")


@pytest.mark.parametrize("rate", [None, "every-frame"])
def test_a_hole_before_the_end_is_told(tmp_path: Path, rate: Any) -> None:
    """Behind the frames by which a changing rate is told; the end of the clip is there."""
    whole = make_clip(tmp_path / "whole.mkv", 1300, size=(16, 16), codec="ffv1").read_bytes()
    first, last = int(0.85 * len(whole)), int(0.9 * len(whole))
    holed = tmp_path / "holed.mkv"
    holed.write_bytes(whole[:first] + bytes(last - first) + whole[last:])
    with ClipReader(holed, size=(16, 16), rate=rate) as clip:
        frames = sum(1 for _ in clip)
        assert frames < 1290 and "of 1300 announced frames are missing" in str(clip.report)


@pytest.mark.parametrize("tick", [25, 100, 600, 1000])
def test_places_that_are_shorter_than_a_frame_are_no_loss(tmp_path: Path, tick: int) -> None:
    """An AVI counts places, and its last frame lasts several of them."""
    path = written(tmp_path / "a.avi", EVEN, codec="mjpeg", pixel_format="yuvj420p", rate=tick)
    frames, clip = read(path)
    assert len(frames) == len(EVEN) and clip.report.lost is None
    damaged, again = read(cut(path, 0.4))
    assert len(damaged) < len(EVEN) and again.report.lost is not None


@pytest.mark.parametrize("cut_off", [1, 3, 4, 8])
def test_a_stream_that_begins_in_the_middle_says_what_it_lacks(
    tmp_path: Path, cut_off: int
) -> None:
    """Packets before the first key frame give no picture: the first `cut_off` are gone."""
    options = {"bf": "0", "sc_threshold": "0"}
    whole = written(tmp_path / "whole.h264", EVEN, codec="libx264", options=options).read_bytes()
    begins = _units(whole)
    path = tmp_path / "a.h264"
    path.write_bytes(whole[: begins[0]] + whole[begins[cut_off] :])
    frames, clip = read(path)
    first = GROUP * -(-cut_off // GROUP)
    assert [index_of(frame) for frame in frames] == list(range(first, 40))
    assert clip.report.lost is None
    unseen = first - cut_off
    assert any(f"{unseen} frames before its first whole" in doubt for doubt in clip.doubts)
    assert read(tmp_path / "whole.h264")[1].doubts == ()


def _units(stream: bytes) -> list[int]:
    """Where the pictures of a raw H.264 stream begin, each of one slice; parameters before."""
    found, at = [], stream.find(b"\0\0\1")
    while at >= 0:
        if stream[at + 3] & 31 in (1, 5):
            found.append(at)
        at = stream.find(b"\0\0\1", at + 3)
    return found


def combed(index: int) -> NDArray[np.uint8]:
    """Two fields, of a bar that moves between them."""
    pixels = np.full((64, 96, 3), 40, np.uint8)
    left = 5 + 4 * index
    pixels[0::2, left : left + 20] = 200
    pixels[1::2, left + 2 : left + 22] = 200
    return pixels


def combs(pixels: NDArray[np.uint8]) -> float:
    """How much rows differ from those between which they lie."""
    rows = pixels[..., 0].astype(int)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


def test_fields_that_begin_in_the_middle_are_made_frames(tmp_path: Path) -> None:
    """As television does: a film, then a report."""
    whole, fields = (
        written(
            tmp_path / f"{name}.ts",
            EVEN[:15],
            codec="mpeg2video",
            options=options,
            picture_of=combed,
        )
        for name, options in (("whole", {}), ("fields", {"flags": "+ildct+ilme"}))
    )
    joined = tmp_path / "joined.ts"
    joined.write_bytes(whole.read_bytes() + fields.read_bytes())
    frames, clip = read(joined)
    assert len(frames) == 30 and clip.report.lost is None
    assert min(combs(frame) for frame in frames[:15]) > 5 > max(map(combs, frames[15:]))
    assert "it is interlaced" in clip.doubts[0]


def test_a_change_of_the_shape_of_pixels_is_said(tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    joined.write_bytes(
        b"".join(
            written(tmp_path / f"{n}.ts", EVEN, codec="libx264", aspect=Fraction(n)).read_bytes()
            for n in (1, 2)
        )
    )
    frames, clip = read(joined)
    assert len(frames) == 80 and clip.native_size == (64, 96)
    assert "changes, from 1:1 to 2:1" in clip.doubts[0]


def test_a_clip_that_is_turned_in_the_middle_ends_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def turned(path: object, frame: object) -> fitting.Orientation:
        asked.append(0)
        return fitting.Orientation(flip_rows=len(asked) > 8)

    monkeypatch.setattr(fitting, "orientation_of", turned)
    path = written(tmp_path / "a.mkv", EVEN, codec="mjpeg", pixel_format="yuvj420p")
    frames, clip = read(path)  # of key frames alone
    assert [index_of(frame) for frame in frames] == list(range(7))
    assert clip.report.lost is not None and "frame 7 is turned or mirrored" in clip.report.lost
    assert clip.report.frames_read == 7


@pytest.mark.parametrize("pixel_format", ["bgra", "yuva420p", "yuva444p10le"])
@pytest.mark.parametrize("seen_through", [True, False])
def test_transparency_is_said_where_there_is_some(
    tmp_path: Path, pixel_format: str, seen_through: bool
) -> None:
    pixels = np.dstack([picture(3), np.full((64, 96), 255, np.uint8)])
    pixels[:8, :8, 3] = 100 if seen_through else 255
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, pixel_format
        frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pixel_format)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames, clip = read(path)
    assert index_of(frames[0]) == 3
    assert any("transparency" in doubt for doubt in clip.doubts) == seen_through
