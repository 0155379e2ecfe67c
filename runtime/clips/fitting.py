"""A frame of any size made the size that the model wants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import ClipError, MissingDependency
from vidtok_edge.runtime.clips.track_facts import Crop

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["ClipFitting", "Fit", "Orientation", "orientation_of"]

Fit = Literal["crop", "letterbox"]

_LARGEST_PIXELS = 1 << 26  # of a frame after scaling, before cropping: 200 MB
# Bicubic, with colours of every pixel: SWS_BICUBIC, SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP. PyAV
# passes numbers on.
_SCALING = 0x4 | 0x2000 | 0x4000
_WHOLE = Crop()
_EXACT = _SCALING | 0x40000  # SWS_ACCURATE_RND; without it colours are repeated, not interpolated


class ClipFitting:
    """Makes a clip's frames RGB of `size`, upright; raises ClipError where that is not sane.

    In the order of the original: RGB at full size, then a resize that covers every pixel. Scaling
    the coded planes instead would take colours from half as many samples.

    Attributes:
        native_size: (H, W) of the clip as it is shown, in square pixels.
    """

    def __init__(
        self,
        path: Path | str,
        first: VideoFrame,
        size: tuple[int, int],
        fit: Fit,
        pixel_aspect: Fraction = Fraction(1),
        crop: Crop = _WHOLE,
    ) -> None:
        """
        Args:
            pixel_aspect: width of a pixel over its height.
            crop: what is not shown of the frames, as they are stored.
        """
        self._path, self._size, self._crop = path, size, crop
        self._orientation = orientation_of(path, first)
        h, w = crop.size_of(first.height, first.width)
        w = max(1, round(w * pixel_aspect))
        self.native_size = (w, h) if self._orientation.transposed else (h, w)
        self._placement = _placement(self.native_size, size, fit)
        self._require_sane_placement()

    def turned_alike(self, frame: VideoFrame) -> bool:
        """Whether a frame is turned and mirrored as the first one was."""
        try:
            return orientation_of(self._path, frame) == self._orientation
        except ClipError:  # by no quarter turn
            return False

    def pixels(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of the asked size."""
        height, width, top, left = self._placement
        if self._orientation.transposed:
            height, width = width, height
        try:
            stored = self._crop.size_of(frame.height, frame.width)
            same_size = stored == (height, width)
            # RGB has neither matrix nor range, but PyAV wants both named: it would else take the
            # frame's for the result. In planes it takes half as long.
            rgb = frame.reformat(
                format="rgb24" if same_size else "gbrp",
                dst_colorspace="ITU601",
                dst_color_range="JPEG",
                interpolation=_EXACT,
            )
            if self._crop != _WHOLE:
                rgb = _cropped(rgb, self._crop)
            if not same_size:
                rgb = rgb.reformat(width, height, "rgb24", interpolation=_SCALING)
            scaled = np.asarray(rgb.to_ndarray(), np.uint8)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise ClipError(
                f"{self._path}: a frame ({frame.format.name}, colour matrix "
                f"{int(frame.colorspace)} of ITU-T H.273) cannot be converted to RGB: {error}. "
                "Convert the clip to yuv420p in BT.709 before."
            ) from error
        upright = self._orientation.upright(scaled)
        return _placed(upright, self._size, top, left)

    def _require_sane_placement(self) -> None:
        height, width, _, _ = self._placement
        if height * width > _LARGEST_PIXELS:
            h, w = self.native_size
            raise ClipError(
                f"{self._path} is {h}x{w}: too elongated to cover {self._size[0]}x{self._size[1]}. "
                "Use fit='letterbox'."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """How stored pixels are shown: transposed first, then mirrored."""

    transposed: bool = False
    flip_rows: bool = False
    """Top to bottom."""
    flip_columns: bool = False
    """Left to right."""

    def upright(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[H, W, 3] as it is shown; a view."""
        shown = stored.swapaxes(0, 1) if self.transposed else stored
        return shown[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


def orientation_of(path: Path | str, frame: VideoFrame) -> Orientation:
    """From the display matrix of a frame: x' = a x + c y, y' = b x + d y.

    Raises ClipError for one that is no turn by quarters and no mirror.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    # 3 x 3 numbers of 16.16 bits, but for the last column; the last row only moves.
    a, b, u, c, d, v, *_ = np.frombuffer(bytes(matrix), np.int32)[:9].tolist()
    one = 1 << 16
    straight = b == c == 0 and {abs(a), abs(d)} == {one}
    crosswise = a == d == 0 and {abs(b), abs(c)} == {one}
    if u or v or not (straight or crosswise):
        raise ClipError(
            f"{path} asks to be shown by the matrix [{a / one:g} {b / one:g}; {c / one:g} "
            f"{d / one:g}]; quarter turns and mirrors can be applied. Re-encode it upright."
        )
    if crosswise:
        return Orientation(transposed=True, flip_rows=b < 0, flip_columns=c < 0)
    return Orientation(flip_rows=d < 0, flip_columns=a < 0)


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


def _cropped(rgb: VideoFrame, crop: Crop) -> VideoFrame:
    """Of rgb24 or gbrp: cut where every pixel has its colours, so that odd borders move none."""
    pixels = np.asarray(rgb.reformat(format="rgb24").to_ndarray(), np.uint8)
    height, width = crop.size_of(rgb.height, rgb.width)
    shown = pixels[crop.top : crop.top + height, crop.left : crop.left + width]
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")


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
