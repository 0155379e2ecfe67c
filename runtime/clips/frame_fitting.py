"""Frames of any one size made the size of the bundle, with PyAV only where that is needed."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import ClipError, MissingDependency, SourceError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from vidtok_edge.runtime.clips.fitting import ClipFitting, Fit

__all__ = ["FrameFitting"]


class FrameFitting:
    """Scales as clips are scaled (`ClipFitting`). Where sizes agree it needs no PyAV.

    Args:
        shown: name of the source, for messages.
        size: (H, W) to make.
        error: what is raised for frames that cannot be used.
    """

    def __init__(
        self,
        shown: str,
        size: tuple[int, int],
        fit: Fit,
        *,
        error: type[ClipError] | type[SourceError],
    ) -> None:
        self._shown, self._size, self._fit, self._error = shown, size, fit, error
        self._native: tuple[int, int] | None = None
        self._fitting: ClipFitting | None = None

    def from_video(
        self, frame: VideoFrame, pixel_aspect: Fraction = Fraction(1)
    ) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of a decoded frame. Raises `error` when its size has changed.

        `pixel_aspect`: width of a pixel over its height.
        """
        self._require_size((frame.height, frame.width))
        return self._scaled(frame, pixel_aspect)

    def from_rgb(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of an RGB picture. Raises `error` when its size has changed."""
        height, width = pixels.shape[:2]
        self._require_size((height, width))
        if (height, width) == self._size:
            return np.ascontiguousarray(pixels)
        try:
            from av.video.frame import VideoFrame
        except ImportError:
            raise MissingDependency(
                "av",
                "video",
                f"{self._shown} has frames of {height}x{width}, the bundle takes "
                f"{self._size[0]}x{self._size[1]}. Scaling them",
            ) from None
        return self._scaled(VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"))

    def _scaled(self, frame: VideoFrame, pixel_aspect: Fraction = Fraction(1)) -> NDArray[np.uint8]:
        from vidtok_edge.runtime.clips.fitting import ClipFitting

        try:
            if self._fitting is None:
                self._fitting = ClipFitting(self._shown, frame, self._size, self._fit, pixel_aspect)
            return self._fitting.pixels(frame)
        except ClipError as error:
            raise self._error(str(error)) from error

    def _require_size(self, size: tuple[int, int]) -> None:
        if self._native is None:
            self._native = size
        if size != self._native:
            raise self._error(
                f"{self._shown}: a frame is {size[0]}x{size[1]} (H x W), the frames before it were "
                f"{self._native[0]}x{self._native[1]}. A source keeps its size: open it again."
            )
