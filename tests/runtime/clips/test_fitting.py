"""Frames as a model wants them: covered or padded, antialiased, in their colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from clip_reading import read, refused
from clips import make_clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_crop_takes_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((2, 64, 128, 3), np.uint8)
    pixels[:, :, 32:96] = (0, 200, 0)
    path = make_clip(tmp_path / "a.mp4", pixels)
    [frame, _], _ = read(path, size=(32, 32))
    assert np.abs(frame.pixels.astype(int) - (0, 200, 0)).mean() < 6
    [frame, _], _ = read(path, size=(32, 32), fit="letterbox")
    assert (frame.pixels[:8] == 0).all() and (frame.pixels[24:] == 0).all()
    assert frame.pixels[16, 16, 1] > 180 and frame.pixels[16, 2, 1] < 20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    fit=st.sampled_from(["crop", "letterbox"]),
)
def test_any_size(tmp_path: Path, size: tuple[int, int], fit: Any) -> None:
    path = tmp_path / "a.mp4"
    if not path.exists():
        make_clip(path, 1, size=(38, 70))
    [frame], _ = read(path, size=size, fit=fit)
    assert frame.pixels.shape == (*size, 3) and frame.pixels.flags["C_CONTIGUOUS"]


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((1, 128, 128, 3), np.uint8)
    stripes[:, :, ::2] = 255
    [frame], _ = read(make_clip(tmp_path / "a.mp4", stripes), size=(32, 32))
    assert frame.pixels.std() < 16  # nearest or plain bilinear sampling would keep the stripes


def test_colours_survive_bt709(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        red = np.full((64, 64, 3), (200, 30, 60), np.uint8)
        frame = av.VideoFrame.from_ndarray(red, format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))
    [read_frame], _ = read(path, size=(64, 64))
    assert np.abs(read_frame.pixels.astype(int) - red).max() <= 4


def test_a_matrix_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    """YCgCo, which FFmpeg knows and its scaler does not."""
    path, ycgco = tmp_path / "a.mkv", 8
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv444p"
        stream.codec_context.colorspace = ycgco
        frame = av.VideoFrame.from_ndarray(np.full((3, 64, 96), 128, np.uint8), format="yuv444p")
        frame.colorspace = ycgco
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refused(path, r"a frame \(yuv444p, colour matrix 8 of .* Convert the clip to yuv420p in BT.709")


def test_elongated_clip_needs_letterbox(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", np.zeros((1, 2, 4096, 3), np.uint8), codec="ffv1")
    refused(path, "too elongated to cover 512x512. Use fit='letterbox'", size=(512, 512))
    assert len(read(path, size=(512, 512), fit="letterbox")[0]) == 1
