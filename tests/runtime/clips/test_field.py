"""Clips as cameras and tools really write them, against the pattern that they were made from.

`tests/field/pattern_20x64x96x3.rgb` is what was filmed: 20 frames of 64x96 RGB.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from clips import Codec, cut, index_of, make_clip
from numpy.typing import NDArray
from PIL import Image

from vidtok_edge.errors import ClipError
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.clips.reading import ClipReader, Rate

FIELD = Path(__file__).resolve().parents[2] / "field"
ROOT = FIELD.parents[1]
PATTERN = np.fromfile(FIELD / "pattern_20x64x96x3.rgb", np.uint8).reshape(20, 64, 96, 3)

Pixels = NDArray[np.uint8]


def frames_of(
    path: Path, size: tuple[int, int] = (64, 96), stream: int | None = None
) -> list[Pixels]:
    with ClipReader(path, size=size, rate="every-frame", stream=stream) as clip:
        return [frame.pixels for frame in clip]


def doubts_of(path: Path) -> tuple[str, ...]:
    with ClipReader(path, size=(64, 96), rate="every-frame") as clip:
        return clip.doubts


def wrong_levels(got: Pixels, filmed: NDArray[Any]) -> float:
    """Of most pixels: where colours meet, half the chroma is lost when a clip is encoded."""
    return float(np.quantile(np.abs(got.astype(int) - filmed), 0.7))


@pytest.mark.parametrize("name", ["c_709_tv", "c_709_pc", "c_601_pc_yuvj"])
def test_colours_are_those_that_were_filmed(name: str) -> None:
    """Limited and full range, both matrices; a range that is mistaken is up to 20 levels wrong."""
    frames = frames_of(FIELD / f"{name}.mp4")
    assert len(frames) == 20
    assert wrong_levels(np.stack(frames), PATTERN) <= 2
    assert doubts_of(FIELD / f"{name}.mp4") == ()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("r_90", np.rot90(PATTERN, 1, (1, 2))),
        ("m_hflip", PATTERN[:, :, ::-1]),
        ("m_vflip", PATTERN[:, ::-1]),
    ],
)
def test_turns_and_mirrors_are_applied(name: str, shown: Pixels) -> None:
    height, width = shown.shape[1:3]
    with ClipReader(FIELD / f"{name}.mp4", size=(height, width)) as clip:
        assert clip.native_size == (height, width)
        frames = np.stack([frame.pixels for frame in clip])
    assert wrong_levels(frames, shown) <= 2


def test_columns_that_are_hidden_at_the_left_are_not_shown(tmp_path: Path) -> None:
    """As few as 10: H.264 says so in its header, and FFmpeg hides 32 at once, if it is not told."""
    path, cropped = make_clip(tmp_path / "a.mp4", PATTERN[:4]), tmp_path / "b.mp4"
    with av.open(path) as source, av.open(cropped, "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        headers = BitStreamFilterContext(
            "h264_metadata=crop_left=10:crop_right=4:crop_top=6:crop_bottom=2", stream, copied
        )
        for packet in source.demux(stream):
            if packet.size:
                for changed in headers.filter(packet):
                    changed.stream = copied
                    target.mux(changed)
    whole, shown = np.stack(frames_of(path)), np.stack(frames_of(cropped, (56, 82)))
    # At the borders colours are interpolated with what lies beside them, where it is there.
    inside = (slice(None), slice(4, -4), slice(4, -4))
    assert np.array_equal(shown[inside], whole[:, 6:62, 10:92][inside])


@pytest.mark.parametrize(
    ("name", "native"), [("s_hdv1440.mp4", (1080, 1920)), ("s_sar2.mp4", (64, 192))]
)
def test_pixels_that_are_not_square_are_made_so(name: str, native: tuple[int, int]) -> None:
    """A circle stays one: the whole width is squeezed into as much height as it is shown in."""
    with ClipReader(FIELD / name, size=(64, 96), fit="letterbox") as clip:
        assert clip.native_size == native
        picture = next(iter(clip)).pixels
    filled = np.flatnonzero(picture.max(axis=(1, 2)) > 30)
    height = filled[-1] - filled[0] + 1
    assert height == pytest.approx(96 * native[0] / native[1], abs=3)


def test_pixels_that_are_twice_as_wide_as_high_fill_twice_the_width() -> None:
    [picture, *_] = frames_of(FIELD / "s_sar2.mp4", (64, 192))
    wide = Image.fromarray(PATTERN[0]).resize((192, 64), Image.Resampling.BICUBIC)
    assert wrong_levels(picture, np.asarray(wide)) <= 4


def test_the_stream_that_is_marked_as_the_default_is_read() -> None:
    path = FIELD / "n_two_video.mkv"
    with ClipReader(path, size=(64, 96)) as clip:
        assert clip.native_size == (64, 96)
        assert "not read: 0 (32x32, H x W)" in clip.doubts[0]
        assert wrong_levels(np.stack([frame.pixels for frame in clip]), PATTERN) <= 3
    with ClipReader(path, size=(32, 32), stream=0) as clip:
        assert clip.native_size == (32, 32) and clip.doubts == ()
    with pytest.raises(ClipError, match=r"no video stream 7; it has 0 \(32x32.*1 \(64x96"):
        ClipReader(path, size=(64, 96), stream=7)


def test_more_than_ten_bits_are_not_taken_without_a_word() -> None:
    path = FIELD / "c_gray16.mkv"
    assert any("16 bits per value" in doubt for doubt in doubts_of(path))
    gray = PATTERN @ np.array([0.299, 0.587, 0.114])
    assert wrong_levels(np.stack(frames_of(path)), gray[..., None]) <= 2


def nits_of_pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100, table 4."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    nits: NDArray[np.float64] = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return nits


def nits_of_hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100, table 5, on a screen of 1000 nits."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luma = scene @ np.array([0.2627, 0.678, 0.0593])
    nits: NDArray[np.float64] = 1000 * scene * luma[..., None] ** 0.2
    return nits


_RGB_709_FROM_2020 = np.array(  # ITU-R BT.2087, inverted
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "nits_of", "limit"), [("pq", nits_of_pq, 2.5), ("hlg", nits_of_hlg, 10)]
)
def test_hdr_is_mapped_to_sdr(
    name: str, nits_of: Callable[[NDArray[np.float64]], NDArray[np.float64]], limit: float
) -> None:
    """To 203 nits as white; the pattern's numbers are here those of HDR. Inside BT.709 only."""
    light = nits_of(PATTERN / 255) @ _RGB_709_FROM_2020.T / 203
    inside = ((light >= 0) & (light <= 1)).all(-1)
    expected = 255 * np.clip(light, 0, 1) ** (1 / 2.4)  # ITU-R BT.1886
    with ClipReader(FIELD / f"c_2020_10b_{name}.mp4", size=(64, 96)) as clip:
        frames = np.stack([frame.pixels for frame in clip])
        assert f"HDR video ({name.upper()}), mapped to SDR" in clip.doubts[0]
    assert inside.sum() > 5000
    assert wrong_levels(frames[inside], expected[inside]) <= limit
    assert wrong_levels(PATTERN[inside], expected[inside]) > 2.5 * limit  # as it was before


def test_hdr_without_tone_mapping_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "vidtok_edge.runtime.clips.suitability.library_versions", {"libswscale": (8, 3, 100)}
    )
    path = FIELD / "c_2020_10b_pq.mp4"
    assert "pale and flat pictures" in doubts_of(path)[0]
    assert wrong_levels(np.stack(frames_of(path)), PATTERN) <= 3


def test_interlaced_video_is_deinterlaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def combs() -> float:
        rows = np.stack(frames_of(FIELD / "i_tff.mp4")).astype(float).mean(-1)
        return float(np.abs(rows[:, 1:-1] - (rows[:, :-2] + rows[:, 2:]) / 2).mean())

    mended, said = combs(), doubts_of(FIELD / "i_tff.mp4")
    assert "made from one field" in said[0]
    assert times_ms(FIELD / "i_tff.mp4", None) == every_40_ms(*range(20))
    monkeypatch.setattr("vidtok_edge.runtime.clips.suitability.filters_available", set())
    assert combs() > 1.2 * mended
    assert "Deinterlace it first" in doubts_of(FIELD / "i_tff.mp4")[0]


def times_ms(path: Path, rate: Rate) -> list[float]:
    with ClipReader(path, size=(64, 96), rate=rate) as clip:
        return [round(frame.time_ns / 1e6, 1) for frame in clip]


def every_40_ms(*places: int) -> list[float]:
    return [40.0 * place for place in places]


# Of mp4 from its boxes stts and ctts, of AVI from its index, of MPEG-TS from the times of its PES
# packets, each read by hand.
TIMES = {
    "t_concat.ts": every_40_ms(*range(26), 29, *range(30, 56), 59),
    "v_avi_dropped.avi": every_40_ms(*range(10), *range(20, 30)),
    "x_mjpeg_halfbad.avi": every_40_ms(*range(5), *range(6, 20)),
    "v_gap1s.mp4": sorted([*every_40_ms(*range(8), *range(33, 41)), 1, 201, 1401, 1601]),
    "e_empty_edit.mp4": every_40_ms(*range(64), 65),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_are_those_of_the_source(name: str) -> None:
    assert times_ms(FIELD / name, "every-frame") == TIMES[name]


@pytest.mark.parametrize("name", [name for name in TIMES if "halfbad" not in name])
def test_a_clip_with_gaps_is_filled_at_its_usual_rate(name: str) -> None:
    """Not at the mean of its intervals, which gaps make longer."""
    with pytest.raises(ClipError, match=r"rate=25, its usual one; --fps 25\)"):
        ClipReader(FIELD / name, size=(64, 96))
    with ClipReader(FIELD / name, size=(64, 96), rate="every-frame") as clip:
        assert clip.fps == 25 and clip.variable_rate
    ticks = round(TIMES[name][-1] / 40) + 1
    assert times_ms(FIELD / name, 25) == every_40_ms(*range(ticks))


def test_coarse_ticks_are_a_constant_rate() -> None:
    """240 fps in ticks of 1/600 s: each frame is within a tick of its place."""
    path = FIELD / "v_240fps_tb600.mp4"
    with ClipReader(path, size=(64, 96)) as clip:
        assert (clip.fps, clip.variable_rate) == (240, False)
        times = np.array([frame.time_ns for frame in clip])
    assert len(times) == 48
    assert np.abs(times - np.arange(48) * 1e9 / 240).max() <= 1e9 / 600


def test_a_clock_that_starts_again_is_carried_on_and_said() -> None:
    with ClipReader(FIELD / "t_concat.ts", size=(64, 96), rate="every-frame") as clip:
        frames = list(clip)
    assert len(frames) == 54 and clip.report.lost is None
    assert clip.doubts[0].startswith("its clock steps back once, first after 1.2 s")
    assert psnr(frames[0].pixels, frames[27].pixels) == np.inf  # the same recording twice


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.mpg", "mpeg1video")])
def test_joined_recordings_keep_all_frames(tmp_path: Path, name: str, codec: Codec) -> None:
    parts = [
        make_clip(tmp_path / f"{i}{name}", n, fps=25, codec=codec).read_bytes()
        for i, n in enumerate((30, 8, 20))
    ]
    (tmp_path / name).write_bytes(b"".join(parts))
    with ClipReader(tmp_path / name, size=(64, 96)) as clip:
        shown = [(index_of(frame.pixels), frame.time_ns // 10**6) for frame in clip]
    numbers = [*range(30), *range(8), *range(20)]
    assert shown == [(number, 40 * place) for place, number in enumerate(numbers)]
    assert "steps back 2 times, first after 1.2 s" in clip.doubts[0]


def test_dropped_frames_of_avi_are_no_damage() -> None:
    with ClipReader(FIELD / "v_avi_dropped.avi", size=(64, 96), rate="every-frame") as clip:
        frames = [frame.pixels for frame in clip]
        assert len(frames) == clip.frames_announced == 20
    assert wrong_levels(np.stack(frames), PATTERN) <= 2
    assert clip.report.lost is None and clip.doubts == ()


@pytest.mark.parametrize("codec", ["mjpeg", "ffv1"])
def test_pictures_of_avi_are_at_their_own_times(tmp_path: Path, codec: Codec) -> None:
    """Where nothing is reordered: cameras write MJPEG, or no frames that wait for others."""
    left_out = [1, 7, 8, 9, 20]
    path = make_clip(tmp_path / "a.avi", 25, fps=25, codec=codec, left_out=left_out)
    with ClipReader(path, size=(64, 96), rate="every-frame") as clip:
        shown = [(index_of(frame.pixels), frame.time_ns // 10**6) for frame in clip]
    assert shown == [(n, 40 * n) for n in range(25) if n not in left_out]
    cut(path, 0.7)
    with ClipReader(path, size=(64, 96), rate="every-frame") as clip:
        shown = [(index_of(frame.pixels), frame.time_ns // 10**6) for frame in clip]
    assert shown[:-1] == [(number, 40 * number) for number, _ in shown[:-1]]  # the last: half of it
    assert clip.report.lost is not None and "announced frames are missing" in clip.report.lost


def test_a_frame_that_is_damaged_does_not_move_those_that_are_sampled() -> None:
    path = FIELD / "x_mjpeg_halfbad.avi"
    assert times_ms(path, 5) == every_40_ms(0, 6, 10, 15)  # number 5 is damaged
    with ClipReader(path, size=(64, 96)) as clip:
        assert len(list(clip)) == 19
    assert clip.report.lost == "1 of 20 frames in the file were damaged"


def test_what_comes_before_a_change_of_size_is_read() -> None:
    with ClipReader(FIELD / "z_reschange.h264", size=(64, 96)) as clip:
        frames = [frame.pixels for frame in clip]
    assert wrong_levels(np.stack(frames), PATTERN) <= 3
    assert clip.report.lost is not None
    assert clip.report.lost.startswith("frame 20 is 64x128 (H x W), those before it are 64x96")


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize(
    "clip", ["tests/field/big_testsrc2.mp4", "clip_robot.mp4", "clip_film.mp4"]
)
def test_scaling_is_that_of_rgb_at_full_size(clip: str, scale: int) -> None:
    """With colours from half the samples 22 to 42 dB, and a third of the tokens of one clip."""
    path = ROOT / (clip if "/" in clip else f"vidtok_ref/embedded/{clip}")
    with ClipReader(path, size=(8, 8)) as reader:
        height, width = reader.native_size
    size = height // scale, width // scale
    full, scaled = frames_of(path, (height, width))[:8], frames_of(path, size)[:8]
    for whole, small in zip(full, scaled, strict=True):
        expected = Image.fromarray(whole).resize(size[::-1], Image.Resampling.BICUBIC)
        assert psnr(np.asarray(expected), small) > 45


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.m3u8", "#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"),
        ("a.mp4", "ffconcat version 1.0\nfile '{}'\n"),
        ("a.sdp", "v=0\nm=video 5000 RTP/AVP 96\n"),
        ("a.mpd", '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{}</BaseURL></MPD>'),
    ],
)
def test_a_file_that_stands_for_others_is_no_clip(tmp_path: Path, name: str, content: str) -> None:
    other = make_clip(tmp_path / "other.ts", 5)
    (tmp_path / name).write_text(content.format(other))
    with pytest.raises(ClipError, match=name):
        frames_of(tmp_path / name)


def test_a_pattern_of_names_is_no_clip(tmp_path: Path) -> None:
    picture = tmp_path / "g001.png"
    Image.fromarray(PATTERN[0]).save(picture)
    shutil.copy(picture, tmp_path / "g%03d.png")
    with pytest.raises(ClipError, match="g%03d"):
        frames_of(tmp_path / "g%03d.png")
