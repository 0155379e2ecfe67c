"""Clips made for tests: small, synthetic, each frame recognisable by its brightness."""

from __future__ import annotations

from collections.abc import Container, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

Codec = Literal["libx264", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "ffv1"]
LEVELS = 50  # frames before the brightness repeats


def picture(index: int, size: tuple[int, int] = (64, 96)) -> NDArray[np.uint8]:
    """Frame `index`, uint8 [H, W, 3]: flat at 16 + 4 * (index % 50), but for a coloured corner."""
    height, width = size
    pixels = np.full((height, width, 3), 16 + 4 * (index % LEVELS), np.uint8)
    pixels[: height // 8, : width // 8] = (255, 0, 0)
    return pixels


def noisy(frames: int, side: int = 64) -> NDArray[np.uint8]:
    """Frames whose packets are large enough to be hit: uint8 [T, H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)


def index_of(pixels: NDArray[np.uint8]) -> int:
    """Which `picture` (modulo 50) a decoded frame shows, read from its centre."""
    height, width = pixels.shape[:2]
    centre = pixels[height // 3 : -height // 3, width // 3 : -width // 3]
    return round((float(centre.mean()) - 16) / 4)


def make_clip(
    path: Path,
    frames: int | NDArray[np.uint8],
    *,
    size: tuple[int, int] = (64, 96),
    fps: float | Fraction = 30,
    codec: Codec = "libx264",
    gop: int = 12,
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
    audio: bool = False,
    title: str = "",
    options: dict[str, str] | None = None,
    left_out: Container[int] = (),
) -> Path:
    """Write a clip and return its path; the suffix chooses the container.

    `frames` is a count (of `picture`) or uint8 [T, H, W, 3]. `times_ms` gives each frame its
    own time: a variable rate. `options` go to the container, such as {"movflags": "faststart"}.
    `left_out`: frames that are not written; the others keep their times.
    """
    pixels = (
        np.stack([picture(i, size) for i in range(frames)]) if isinstance(frames, int) else frames
    )
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(path, "w", container_options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            if not hasattr(VideoStream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write a rotation")
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=16000) if audio else None
        if title:
            container.metadata["title"] = title
        container.start_encoding()  # so that a clip of no frames has its header
        for index, array in enumerate(pixels):
            if index in left_out:
                continue
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame.pts = index if times_ms is None else times_ms[index]
            frame.time_base = 1 / rate if times_ms is None else Fraction(1, 1000)
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
        if sound is not None:
            _silence(container, sound, float(len(pixels) / rate))
    return path


def make_audio(path: Path, seconds: float = 0.5) -> Path:
    """A file with an audio stream and nothing else."""
    with av.open(path, "w") as container:
        _silence(container, container.add_stream("aac", rate=16000), seconds)
    return path


def make_two_sizes(path: Path, first: tuple[int, int], second: tuple[int, int], each: int) -> Path:
    """An MJPEG .mkv or .avi of `each` frames of one size, then `each` of another."""
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.height, stream.width = first
        stream.pix_fmt = "yuvj420p"
        for part, size in enumerate((first, second)):
            encoder = VideoCodecContext.create("mjpeg", "w")
            encoder.height, encoder.width = size
            encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 30)
            for index in range(each):
                frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
                frame = frame.reformat(format="yuvj420p")
                frame.pts, frame.time_base = part * each + index, Fraction(1, 30)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only the first `share` of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def scratch(path: Path, start: float, length: int) -> Path:
    """Overwrite `length` bytes with zeros, from the share `start` of the file on."""
    data = bytearray(path.read_bytes())
    first = int(len(data) * start)
    data[first : first + length] = bytes(length)
    path.write_bytes(data)
    return path


def _silence(container: OutputContainer, stream: AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 16000), 1024):
        samples = np.zeros((1, 1024), np.float32)
        frame = AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
