"""A folder of images read frame by frame, as a clip is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import ClipError, MissingDependency, UsageError
from vidtok_edge.runtime.clips.clip_frame import ClipFrame, ClipReport
from vidtok_edge.runtime.clips.frame_fitting import FrameFitting
from vidtok_edge.runtime.clips.picture_bounds import MOST_SCANS, most_pixels, scans_in

try:
    from PIL import Image, ImageOps
except ImportError:
    raise MissingDependency("pillow", "video", "Reading a folder of images") from None

if TYPE_CHECKING:
    from vidtok_edge.runtime.clips.fitting import Fit

__all__ = ["ImageFolderReader", "natural_order"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
# Pillow looks at what a file holds, not at its name: PostScript named .png would run Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class ImageFolderReader:
    """The images of a folder in natural order (`img2` before `img10`), once; a context manager.

    Hidden files are left out. Reading ends before an image that cannot be read, is not of 8 bits,
    or has another size than those before it; `report.lost` then says so.

    Args:
        path: the folder.
        size: (H, W) of the frames to give.
        fit: how images of another size are brought to it, as in `ClipReader`.
        fps: the rate; None: not known, and all times are 0.

    Attributes:
        fps: 0 where not known.
        doubts: none; see `ClipReader`.

    Raises ClipError: it cannot be read, or holds no images; UsageError: no rate that could be one.
    """

    doubts: tuple[str, ...] = ()

    def __init__(
        self, path: Path, *, size: tuple[int, int], fit: Fit = "crop", fps: float | None = None
    ) -> None:
        if fps is not None and not 1e-3 <= fps <= 1e6:
            raise UsageError(f"{fps:g} images per second; allowed: 0.001 to 1000000.")
        self.path, self.fps = path, fps or 0.0
        self._fitting = FrameFitting(str(path), size, fit, error=ClipError)
        self._files = _images_in(path)
        self._read = 0
        self._started = False
        self._lost: str | None = None

    @property
    def frames_announced(self) -> int:
        """How many images there are."""
        return len(self._files)

    @property
    def report(self) -> ClipReport:
        """What was read; `lost` is known when the iteration has come to its end."""
        return ClipReport(self._read, len(self._files), self._lost)

    def __iter__(self) -> Iterator[ClipFrame]:
        if self._started:
            raise UsageError(f"{self.path} was read already: open it again to read it again.")
        self._started = True
        return self._frames()

    def close(self) -> None:
        """Nothing stays open between two images."""

    def __enter__(self) -> ImageFolderReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _frames(self) -> Iterator[ClipFrame]:
        for number, file in enumerate(self._files):
            try:
                pixels = self._fitting.from_rgb(_rgb(file))
            except ClipError as error:
                left = len(self._files) - number
                self._lost = f"{file.name}: {str(error).rstrip('.')}; {left} images were not used"
                return
            self._read += 1
            yield ClipFrame(pixels, round(number * 1e9 / self.fps) if self.fps else 0)


def _images_in(folder: Path) -> list[Path]:
    try:
        found = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in _SUFFIXES and path.name[0] != "." and path.is_file()
        ]
    except OSError as error:
        raise ClipError(f"{folder} cannot be read: {error.strerror}.") from error
    if not found:
        raise ClipError(f"{folder} holds no images; looked for {', '.join(_SUFFIXES)}.")
    return sorted(found, key=lambda path: natural_order(path.name))


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts numbers in names by value, and names of the same numbers as text.

    >>> sorted(["img10.png", "img9.png", "img1.png", "img01.png"], key=natural_order)
    ['img01.png', 'img1.png', 'img9.png', 'img10.png']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _rgb(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _require_usable(image, file)
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (ClipError, MemoryError):
        raise
    except Exception as error:  # OSError, SyntaxError, TypeError, struct.error and more, by format
        raise ClipError(f"it cannot be read: {error}. Copy it again.") from error


def _require_usable(image: Image.Image, file: Path) -> None:
    """By its headers and its size alone."""
    stored = file.stat().st_size
    if image.mode not in _EIGHT_BITS:
        raise ClipError(f"pixels are {image.mode}; images of 8 bits can be read. Convert it.")
    if image.width * image.height > (most := most_pixels(stored)):
        raise ClipError(
            f"it claims {image.height}x{image.width} (H x W) in {stored} bytes; images of up to "
            f"{most} pixels of such a size can be read. Scale it down."
        )
    if image.format in ("JPEG", "MPO") and (scans := scans_in(file)) > MOST_SCANS:
        raise ClipError(
            f"it has {scans} scans, each of all its pixels; JPEGs of up to {MOST_SCANS} can be "
            "read. Save it anew."
        )
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format not in ("JPEG", "MPO"):  # cameras add a preview
        raise ClipError(f"it holds {pictures} pictures; a file is one frame. Write each to a file.")
