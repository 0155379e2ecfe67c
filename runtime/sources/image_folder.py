"""A folder of images as a source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, SourceError, UsageError
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.fitting import FrameFitting
from vidtok_edge.runtime.sources.frame import Fit, Frame
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

try:
    from PIL import Image, ImageOps
except ImportError:
    raise MissingDependency("pillow", "video", "Reading a folder of images") from None

__all__ = ["ImageFolderSource", "natural_order"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class ImageFolderSource(Reading):
    """The images of a folder in natural order (`img2` before `img10`), at `fps`.

    Raises:
        SourceError: no images; while iterating: one that cannot be read, is not of 8 bits, or has
            another size than the one before.
        UsageError: `realtime` without `fps`.
    """

    def __init__(
        self,
        path: str,
        size: tuple[int, int],
        *,
        fps: float | None = None,
        fit: Fit = "crop",
        realtime: bool = False,
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(path, fps, clock)
        if realtime and fps is None:
            raise UsageError(f"{path} is a folder of images: its rate is not known. Give --fps.")
        self._realtime = realtime
        self._fitting = FrameFitting(path, size, fit)
        try:
            found = [p for p in Path(path).iterdir() if p.suffix.lower() in _SUFFIXES]
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
        if not found:
            raise SourceError(f"{path} holds no images; looked for {', '.join(_SUFFIXES)}.")
        self._files = sorted(found, key=lambda p: natural_order(p.name))

    def _read(self) -> Iterator[Frame]:
        yield from timed_frames(self._pictures(), self._realtime, self._clock, self._closed)

    def _pictures(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        for number, file in enumerate(self._files):
            try:
                pixels = self._fitting.from_rgb(_rgb(file))
            except SourceError as error:
                raise SourceError(f"{file.name}: {error}") from error
            yield pixels, round(number * 1e9 / self.fps) if self.fps else 0


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value.

    >>> sorted(["img10.png", "img9.png", "img1.png"], key=natural_order)
    ['img1.png', 'img9.png', 'img10.png']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _rgb(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.mode not in _EIGHT_BITS:
                raise SourceError(
                    f"pixels are {image.mode}; images of 8 bits can be read. Convert it."
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    # Pillow's decoders raise all of these for damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise SourceError(f"it cannot be read: {error}. Copy it again.") from error
