"""Reading clips: the good, and every kind of bad, made here."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_reading import SIZE, read, refused
from clips import cut, index_of, make_audio, make_clip, make_two_sizes, noisy, picture, scratch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidtok_edge.errors import ClipError, UsageError
from vidtok_edge.runtime.clips.clip_frame import ClipFrame, ClipReport
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.clips.reading import ClipReader, Rate

FASTSTART = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


def indices(frames: list[ClipFrame]) -> list[int]:
    return [index_of(frame.pixels) for frame in frames]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mov", "a.flv"])
def test_every_frame_of_a_container(tmp_path: Path, name: str) -> None:
    frames, report = read(make_clip(tmp_path / name, 30))
    assert indices(frames) == list(range(30))
    assert report == ClipReport(30, report.frames_announced, None)
    assert report.frames_announced == (None if name in ("a.ts", "a.flv") else 30)
    for frame in frames:
        assert frame.pixels.shape == (*SIZE, 3) and frame.pixels.dtype == np.uint8
        assert frame.pixels.flags["C_CONTIGUOUS"]
    expected = np.arange(30) * 1e9 / 30
    assert np.abs([f.time_ns for f in frames] - expected).max() <= 1e6  # mkv, flv: whole ms
    assert "(64, 96, 3)" in repr(frames[0])


def test_facts(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 10, fps=Fraction(30000, 1001))
    with ClipReader(path, size=(32, 32)) as clip:
        assert clip.fps == clip.native_fps == pytest.approx(30000 / 1001)
        assert (clip.native_size, clip.frames_announced, clip.variable_rate) == (SIZE, 10, False)
        assert clip.report == ClipReport(0, 10, None)


def test_one_frame(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        frames, report = read(make_clip(tmp_path / name, 1))
        assert indices(frames) == [0] and frames[0].time_ns == 0 and report.lost is None
    assert len(read(tmp_path / "a.mp4", rate=5)[0]) == 1


def test_read_once_and_closed_twice(tmp_path: Path) -> None:
    with ClipReader(make_clip(tmp_path / "a.mp4", 3), size=SIZE) as clip:
        assert len(list(clip)) == 3
        with pytest.raises(UsageError, match="open it again"):
            iter(clip)
    clip.close()
    with ClipReader(tmp_path / "a.mp4", size=SIZE) as clip:
        pass
    with pytest.raises(UsageError, match="was closed"):
        iter(clip)


def test_odd_names(tmp_path: Path) -> None:
    for name in ("a:b.mp4", "a b%03d.mp4", "größe.mp4"):
        assert len(read(make_clip(tmp_path / "a.mp4", 2).rename(tmp_path / name))[0]) == 2


def test_a_title_that_is_no_utf8(tmp_path: Path) -> None:
    """A title in Latin-1, as some cameras write it; by default PyAV before 19 raises."""
    path = make_clip(tmp_path / "a.mkv", 3, title="Gr##e")
    data = path.read_bytes()
    assert b"Gr##e" in data
    path.write_bytes(data.replace(b"Gr##e", b"Gr\xfc\xdfe"))
    assert indices(read(path)[0]) == [0, 1, 2]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, rotation: int) -> None:
    path = make_clip(tmp_path / "a.mp4", 2, rotation=rotation)
    turned = np.rot90(picture(0), rotation // 90)
    height, width = turned.shape[:2]
    with ClipReader(path, size=(height, width)) as clip:
        assert clip.native_size == (height, width)
        assert psnr(next(iter(clip)).pixels, np.ascontiguousarray(turned)) > 30


def test_embedded_clip() -> None:
    root = Path(__file__).resolve().parents[3]
    frames, report = read(root / "vidtok_ref/embedded/clip_robot.mp4", size=(256, 256))
    assert report == ClipReport(121, 121, None) and len(frames) == 121


def test_wrong_arguments(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 2)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"size": (0, 5)}, "at least 1 pixel"),
        ({"fit": "stretch"}, "allowed: 'crop', 'letterbox'"),
        ({"rate": 0}, "above 0"),
        ({"rate": float("nan")}, "above 0"),
        ({"rate": "all"}, "'every-frame'"),
        ({"rate": 100}, "has 30 frames per second; 100 were asked for. Ask for at most 30"),
    ]
    for arguments, sentence in wrong:
        with pytest.raises(UsageError, match=sentence):
            read(path, **arguments)


@pytest.mark.parametrize(("rate", "step"), [(30, 1), (24, 1), (15, 2), (10, 3), (7, 4), (1, 30)])
def test_constant_rate_is_sampled_every_nth_frame(tmp_path: Path, rate: float, step: int) -> None:
    path = make_clip(tmp_path / "a.mp4", 31)
    frames, _ = read(path, rate=rate)
    assert indices(frames) == list(range(0, 31, step))
    with ClipReader(path, size=SIZE, rate=rate) as clip:
        assert clip.fps == pytest.approx(30 / step)


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(24000, 1001), 60, 50, 7])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_rounded_timestamps_are_a_constant_rate(tmp_path: Path, name: str, fps: Fraction) -> None:
    with ClipReader(make_clip(tmp_path / name, 40, fps=fps), size=SIZE) as clip:
        assert clip.native_fps == pytest.approx(float(fps), rel=2e-3)
        assert len(list(clip)) == 40


TIMES = [0, 20, 40, 140, 160, 180, 300, 320, 340]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_rate(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, len(TIMES), times_ms=TIMES)
    refused(path, r"they are 20\.0 to 120\.0 ms apart. Give a rate .*or .*rate='every-frame'")
    frames, report = read(path, rate="every-frame")
    assert [f.time_ns // 10**6 for f in frames] == TIMES and indices(frames) == list(range(9))
    assert report.lost is None
    with ClipReader(path, size=SIZE, rate=20) as clip:
        assert clip.variable_rate and clip.fps == 20
        frames = list(clip)
    assert [f.time_ns // 10**6 for f in frames] == [0, 50, 100, 150, 200, 250, 300]
    assert indices(frames) == [0, 2, 2, 3, 5, 5, 6]


def bare(path: Path) -> Path:
    """Pictures without a container: nothing says how fast they follow each other."""
    with av.open(path, "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=50)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj420p"
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    return path


def silent_y4m(path: Path, rate: str) -> Path:
    header = f"YUV4MPEG2 W96 H64{rate} Ip C420jpeg\n".encode()
    frame = b"FRAME\n%b" + bytes([128]) * (96 * 64 // 2)
    path.write_bytes(header + b"".join(frame % (bytes([16 + 4 * i]) * 96 * 64) for i in range(10)))
    return path


@pytest.mark.parametrize("rate", ["bare", "", " F0:0", " F0:1", " F25:0"])
def test_a_rate_that_nothing_says_is_not_made_up(tmp_path: Path, rate: str) -> None:
    """FFmpeg takes 25 frames per second for it."""
    path = bare(tmp_path / "a.mjpeg") if rate == "bare" else silent_y4m(tmp_path / "a.y4m", rate)
    refused(path, "does not say how many frames per second it has. Give its rate")
    with ClipReader(path, size=SIZE, rate="every-frame") as clip:
        assert clip.fps == clip.native_fps == 0
        assert [frame.time_ns for frame in clip] == [0] * 10
    with ClipReader(path, size=SIZE, rate=50) as clip:
        assert clip.fps == 50
        assert [frame.time_ns for frame in clip] == [i * 20_000_000 for i in range(10)]


def test_frames_of_one_time_are_all_given(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", 6, times_ms=[0, 40, 80, 80, 120, 160], codec="ffv1")
    frames, _ = read(path, rate="every-frame")
    assert indices(frames) == list(range(6))


def test_variable_rate_that_begins_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.clips.scanning._SCANNED_PACKETS", 50)
    times = [20 * i for i in range(100)] + [2000 + 90 * i for i in range(1, 100)]
    path = make_clip(tmp_path / "a.mkv", len(times), times_ms=times, size=(32, 32))
    with (
        ClipReader(path, size=SIZE) as clip,
        pytest.raises(ClipError, match="variable frame rate"),
    ):
        assert not clip.variable_rate
        list(clip)
    with ClipReader(path, size=SIZE, rate=10) as clip:  # demuxes everything before
        assert clip.variable_rate
        assert len(list(clip)) == times[-1] // 100 + 1


def test_a_broken_clock_is_not_filled(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", 3, times_ms=[0, 33, 3_600_000])
    refused(path, "3600 s pass between two frames; at most 600 are filled", rate=30)
    assert len(read(path, rate="every-frame")[0]) == 3


def test_not_a_clip(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", "does not exist. Check the name")
    refused(tmp_path / "nul\0.mp4", "does not exist|cannot be read")
    refused(tmp_path, "is a folder. Name one clip inside it")
    refused(Path(os.devnull), "not a regular file")
    (tmp_path / "empty.mp4").write_bytes(b"")
    refused(tmp_path / "empty.mp4", "is empty")
    (tmp_path / "text.mp4").write_text("This is no video. " * 100)
    refused(tmp_path / "text.mp4", "not a clip that can be read|no video stream")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    refused(tmp_path / "list.m3u8", "not a clip that can be read|no video stream")


@pytest.mark.parametrize("name", ["a.mp4", "a.m4a", "a.mkv"])
def test_audio_only(tmp_path: Path, name: str) -> None:
    refused(make_audio(tmp_path / name), "has no video stream, only sound")


def test_audio_beside_the_pictures_is_ignored(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        frames, report = read(make_clip(tmp_path / name, 30, audio=True))
        assert indices(frames) == list(range(30)) and report.lost is None


def test_header_gone(tmp_path: Path) -> None:
    path = cut(make_clip(tmp_path / "a.mp4", 30), 0.6)  # an ordinary mp4 has its header at the end
    refused(path, "not a clip that can be read: .* header is damaged or missing")


@pytest.mark.parametrize(
    ("name", "options", "announced"),
    [("a.mp4", FASTSTART, 60), ("a.mkv", {}, 60), ("a.avi", {}, 60)],
)
def test_truncated_in_the_middle(
    tmp_path: Path, name: str, options: dict[str, str], announced: int
) -> None:
    path = cut(make_clip(tmp_path / name, noisy(60), options=options, gop=5), 0.6)
    frames, report = read(path)
    assert 3 < len(frames) < 57
    assert report.frames_read == len(frames) and report.frames_announced == announced
    assert report.lost is not None
    assert f"of {announced} announced frames are missing from the file" in report.lost


def test_truncated_variable_rate(tmp_path: Path) -> None:
    times = [i * 40 + i % 3 * 13 for i in range(60)]
    path = cut(make_clip(tmp_path / "a.mkv", noisy(60), times_ms=times, gop=5), 0.6)
    frames, report = read(path, rate="every-frame")
    assert 3 < len(frames) < 57 and report.frames_announced is None
    assert report.lost is not None and "s of the 2.4 s announced" in report.lost


@pytest.mark.parametrize(("name", "options"), [("a.ts", {}), ("a.flv", {}), ("a.mp4", FRAGMENTED)])
def test_truncated_where_nothing_was_announced(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    path = cut(make_clip(tmp_path / name, noisy(60), options=options, gop=5), 0.6)
    frames, report = read(path)
    assert 3 < len(frames) < 57 and report.frames_announced is None
    assert name == "a.ts" or report.lost is not None


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = scratch(make_clip(tmp_path / "a.mp4", noisy(60), options=FASTSTART, gop=5), 0.5, 3000)
    frames, report = read(path)
    assert 30 < len(frames) < 60 and report.frames_announced == 60
    assert report.lost is not None and "of 60 frames in the file were damaged" in report.lost
    times = [frame.time_ns for frame in frames]
    assert times == sorted(times) and times[-1] == round(59e9 / 30)  # the others keep their time


def test_frames_that_the_decoder_patched_are_told(tmp_path: Path) -> None:
    """It fills in what it cannot read, and gives a frame that looks like any other."""
    path = make_clip(tmp_path / "a.mkv", noisy(30), codec="mpeg4", gop=5)
    assert read(path, rate="every-frame")[1].lost is None
    frames, report = read(scratch(path, 0.5, 8), rate="every-frame")
    assert len(frames) == 30 and report.lost is not None
    assert "frames were damaged in part and were used" in report.lost


def test_lost_packets_that_nothing_marks(tmp_path: Path) -> None:
    path = scratch(make_clip(tmp_path / "a.mkv", noisy(60), gop=5), 0.5, 30_000)
    refused(path, "variable frame rate, or frames missing")
    frames, report = read(path, rate=30)
    assert [f.time_ns for f in frames] == [round(i * 1e9 / 30) for i in range(len(frames))]
    assert report.frames_announced is None and len(frames) == 60


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_what_comes_before_a_change_of_size_is_kept(tmp_path: Path, name: str) -> None:
    path = make_two_sizes(tmp_path / name, (64, 96), (48, 64), each=5)
    frames, report = read(path)
    assert indices(frames) == list(range(5)) and report.frames_read == 5
    assert report.lost is not None
    assert report.lost.startswith("frame 5 is 48x64 (H x W), those before it are 64x96")
    frames, _ = read(path, rate=10)
    assert indices(frames) == [0, 3]


def test_no_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", np.zeros((0, 32, 32, 3), np.uint8))
    refused(path, "not one readable picture|not a clip that can be read|no video stream")
    path = make_clip(tmp_path / "a.mp4", 5, options=FASTSTART)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))
    refused(path, "not one readable picture: no frame could be decoded")


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_fuzzed_clips_raise_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["a.mp4", "a.mkv", "a.ts", "a.avi"]))
    source = tmp_path / name
    if not source.exists():
        make_clip(source, noisy(12, 32), gop=4, options=FASTSTART if name == "a.mp4" else {})
    damaged = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        place = data.draw(
            st.integers(0, min(len(damaged), data.draw(st.sampled_from([2000, 10**9]))) - 1)
        )
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"fuzzed{source.suffix}"
    path.write_bytes(damaged)
    rate: Rate = data.draw(st.sampled_from([None, 10.0, "every-frame"]))
    with suppress(ClipError, UsageError), ClipReader(path, size=(32, 32), rate=rate) as clip:
        for count, frame in enumerate(clip):
            assert frame.pixels.shape == (32, 32, 3)
            if count == 100:  # a damaged clock may ask for ten minutes
                break
        _ = clip.report


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(st.binary(min_size=1, max_size=400))
def test_random_bytes_raise_nothing_else(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with suppress(ClipError):
        read(path)


@pytest.mark.parametrize("module", ["reading", "writing"])
def test_without_pyav(module: str) -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from vidtok_edge.errors import MissingDependency\n"
        f"try:\n    import vidtok_edge.runtime.clips.{module}\n"
        "except MissingDependency as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs av" in done.stdout and 'pip install "vidtok-edge[video]"' in done.stdout
