"""Bytes of raw frames to RGB, and what is no raw frame though its bytes would do for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from vidtok_edge.runtime.clips.frame_fitting import FrameFitting
    from vidtok_edge.runtime.sources.frame import RawFormat

__all__ = ["RAW_FORMATS", "RawFrames", "container_of"]

# Packed: bytes of a pixel, and where red, green and blue are in it.
_PACKED = {
    "rgb24": (3, (0, 1, 2)),
    "bgr24": (3, (2, 1, 0)),
    "rgba": (4, (0, 1, 2)),
    "bgra": (4, (2, 1, 0)),
    "gray": (1, (0, 0, 0)),
}
# Of YUV, as PyAV takes them: rows and bytes of a row per row and column of pixels.
_YUV = {"nv12": (1.5, 1), "yuv420p": (1.5, 1), "yuyv422": (1, 2)}
RAW_FORMATS = (*_PACKED, *_YUV)
"""Names are FFmpeg's. YUV is of limited range and BT.601."""

_MAGIC = (
    (0, b"RIFF", "an AVI, WAV or WebP file"),
    (4, b"ftyp", "an MP4 or MOV file"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (6, b"JFIF", "a JPEG picture"),
    (6, b"Exif", "a JPEG picture"),
    (0, b"GIF8", "a GIF"),
    (0, b"OggS", "an Ogg file"),
    (0, b"FLV\x01", "a Flash video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
)


def container_of(start: bytes) -> str | None:
    """What file the first bytes of a pipe are the beginning of, for a message; None for none."""
    # Packets of 188 bytes begin alike; so does a grey picture, which goes on alike, too.
    if start[:1] == start[188:189] == start[376:377] == b"\x47" and start.count(b"\x47") < 100:
        return "MPEG-TS video"
    return next((what for at, magic, what in _MAGIC if start[at:].startswith(magic)), None)


class RawFrames:
    """How many bytes a raw frame has, and what it looks like.

    Attributes:
        height, width: pixels.
        size: bytes of a frame.

    Raises UsageError for sizes and strides that no frame has.
    """

    def __init__(self, raw: RawFormat) -> None:
        self.height, self.width, self._format = raw.height, raw.width, raw.pixels
        if min(raw.height, raw.width) < 1:
            raise UsageError(f"Raw frames of {raw.height}x{raw.width}; allowed: 1x1 up.")
        if raw.pixels not in RAW_FORMATS:
            raise UsageError(
                f"Raw frames of {raw.pixels!r}; allowed: {', '.join(RAW_FORMATS)} (--raw-format)."
            )
        rows, per_column = _YUV.get(raw.pixels, (1, 0))
        self._row = raw.width * (per_column or _PACKED[raw.pixels][0])
        if per_column and (raw.height % 2 or raw.width % 2):
            raise UsageError(f"Raw frames of {raw.pixels} have even sides, not {self._shown}.")
        self._rows, self._stride = int(raw.height * rows), raw.stride or self._row
        if self._stride < self._row:
            raise UsageError(
                f"A row of {raw.width} pixels of {raw.pixels} has {self._row} bytes; "
                f"--raw-stride {self._stride} is less."
            )
        if self._stride != self._row and raw.pixels == "yuv420p":
            raise UsageError("Rows of yuv420p have two lengths: pipe it without padding.")
        self.size = self._rows * self._stride

    @property
    def _shown(self) -> str:
        return f"{self.height}x{self.width} (H x W)"

    def __str__(self) -> str:
        padded = "" if self._stride == self._row else f", rows of {self._stride} bytes"
        return f"{self._format} of {self._shown}{padded}"

    def fitted(self, data: NDArray[np.uint8], fitting: FrameFitting) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of the size that `fitting` makes, from the bytes of a frame."""
        if self._format in _YUV:
            return fitting.from_video(self._video(data))
        size, places = _PACKED[self._format]
        pixels = self._unpadded(data).reshape(self.height, self.width, size)
        return fitting.from_rgb(pixels if self._format == "rgb24" else pixels[:, :, list(places)])

    def _video(self, data: NDArray[np.uint8]) -> VideoFrame:
        try:
            from av.video.frame import VideoFrame
        except ImportError:
            raise MissingDependency("av", "video", f"Raw frames of {self._format}") from None
        plane = np.ascontiguousarray(self._unpadded(data))
        if self._format == "yuyv422":
            plane = plane.reshape(self.height, self.width, 2)
        return VideoFrame.from_ndarray(plane, format=self._format)

    def _unpadded(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return data.reshape(self._rows, self._stride)[:, : self._row]
