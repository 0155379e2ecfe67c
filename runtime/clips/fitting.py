"""A frame of any size made the size that the model wants."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import ClipError, MissingDependency

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["ClipFitting", "Fit"]

Fit = Literal["crop", "letterbox"]

_LARGEST_PIXELS = 1 << 26  # of a frame after scaling, before cropping: 200 MB


class ClipFitting:
    """Turns a clip's frames upright and makes them `size`; raises ClipError where that is not sane.

    Attributes:
        native_size: (H, W) of the clip as it is shown.
    """

    def __init__(
        self, path: Path | str, first: VideoFrame, size: tuple[int, int], fit: Fit
    ) -> None:
        self._path, self._size = path, size
        self._turns = _quarter_turns(path, first)
        h, w = first.height, first.width
        self.native_size = (w, h) if self._turns % 2 else (h, w)
        self._placement = _placement(self.native_size, size, fit)
        self._require_sane_placement()

    def pixels(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of the asked size."""
        height, width, top, left = self._placement
        if self._turns % 2:
            height, width = width, height
        try:
            # RGB has no matrix, but PyAV 13 to 15 ignore the frame's own unless another is named.
            scaled = frame.reformat(
                width, height, "rgb24", dst_colorspace="ITU601", interpolation="BICUBIC"
            ).to_ndarray()
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise ClipError(f"{self._path}: a frame cannot be converted: {error}.") from error
        upright = np.rot90(scaled, self._turns)
        return _placed(upright.astype(np.uint8, copy=False), self._size, top, left)

    def _require_sane_placement(self) -> None:
        height, width, _, _ = self._placement
        if height * width > _LARGEST_PIXELS:
            h, w = self.native_size
            raise ClipError(
                f"{self._path} is {h}x{w}: too elongated to cover {self._size[0]}x{self._size[1]}. "
                "Use fit='letterbox'."
            )


def _quarter_turns(path: Path | str, frame: VideoFrame) -> int:
    """How many times the picture must be turned by 90 degrees, counter-clockwise."""
    degrees = int(getattr(frame, "rotation", 0))  # not in PyAV 13
    if degrees % 90:
        raise ClipError(
            f"{path} asks to be shown rotated by {degrees} degrees; quarter turns can be applied. "
            "Re-encode it upright."
        )
    return degrees // 90 % 4


def _placement(native: tuple[int, int], size: tuple[int, int], fit: Fit) -> tuple[int, ...]:
    """Scaled height and width, and where their corner comes to lie in the target: top, left.

    >>> _placement((120, 160), (64, 64), "crop")
    (64, 85, 0, -10)
    >>> _placement((120, 160), (64, 64), "letterbox")
    (48, 64, 8, 0)
    """
    (h, w), (height, width) = native, size
    by_height = height * w >= width * h
    if fit == "letterbox":
        by_height = not by_height
    # Rounding down, as torchvision's Resize does, which the original uses.
    scaled = (height, max(1, w * height // h)) if by_height else (max(1, h * width // w), width)
    if fit == "crop":  # for sizes that divide with a remainder of nearly one
        scaled = max(height, scaled[0]), max(width, scaled[1])
    top, left = (math.trunc((t - s) / 2) for t, s in zip(size, scaled, strict=True))
    return *scaled, top, left


def _placed(
    picture: NDArray[np.uint8], size: tuple[int, int], top: int, left: int
) -> NDArray[np.uint8]:
    """Cut `picture` to `size`, or set it on black, with its corner at (top, left)."""
    height, width = size
    if top <= 0 and left <= 0:
        cut = picture[-top : -top + height, -left : -left + width]
        if cut.shape[:2] == size:
            return np.ascontiguousarray(cut)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas
