"""A folder of images read frame by frame, as a clip is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
_OTHER_PICTURES = (
    ".avif", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm",
    ".pnm", ".tga",
)  # fmt: skip
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

    Raises ClipError: it cannot be read, or holds no images; UsageError: no rate that could be one.
    """

    def __init__(
        self, path: Path, *, size: tuple[int, int], fit: Fit = "crop", fps: float | None = None
    ) -> None:
        if fps is not None and not 1e-3 <= fps <= 1e6:
            raise UsageError(f"{fps:g} images per second; allowed: 0.001 to 1000000.")
        self.path, self.fps = path, fps or 0.0
        self._fitting = FrameFitting(str(path), size, fit, error=ClipError)
        self._files, left_out = _images_in(path)
        self._about_names = tuple(_doubts_about(self._files, left_out))
        self._about_pixels: Counter[str] = Counter()
        self._read = 0
        self._started = False
        self._lost: str | None = None

    @property
    def frames_announced(self) -> int:
        """How many images there are."""
        return len(self._files)

    @property
    def doubts(self) -> tuple[str, ...]:
        """See `ClipReader`; of the pixels, as far as was read."""
        told = [
            f"{_counted(count, 'image has', 'images have')} {what}"
            for what, count in self._about_pixels.items()
        ]
        return (*self._about_names, *told)

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
                rgb, doubts = _rgb(file)
                pixels = self._fitting.from_rgb(rgb)
            except ClipError as error:
                left = len(self._files) - number
                unused = _counted(left, "image was", "images were")
                self._lost = f"{file.name}: {str(error).rstrip('.')}; {unused} not used"
                return
            self._about_pixels.update(doubts)
            self._read += 1
            yield ClipFrame(pixels, round(number * 1e9 / self.fps) if self.fps else 0)


def _rgb(file: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """The pixels [H, W, 3] of an image, and what of it is not used. Raises ClipError."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _require_usable(image, file)
            doubts = list(_doubts_about_pixels(image))
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), doubts
    except (ClipError, MemoryError):
        raise
    except Exception as error:  # OSError, SyntaxError, TypeError, struct.error, by format
        raise ClipError(f"it cannot be read: {error}. Copy it again.") from error


def _images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder, in order, and pictures of other formats."""
    try:
        seen = [path for path in folder.iterdir() if path.name[0] != "." and path.is_file()]
    except OSError as error:
        raise ClipError(f"{folder} cannot be read: {error.strerror}.") from error
    found = [path for path in seen if path.suffix.lower() in _SUFFIXES]
    if not found:
        raise ClipError(f"{folder} holds no images; looked for {', '.join(_SUFFIXES)}.")
    others = [path for path in seen if path.suffix.lower() in _OTHER_PICTURES]
    return (
        sorted(found, key=lambda path: natural_order(path.name)),
        sorted(others, key=lambda path: natural_order(path.name)),
    )


def _doubts_about(files: Sequence[Path], left_out: Sequence[Path]) -> Iterator[str]:
    """Sentences about names: what they say of the order is all that is known of it."""
    if left_out:
        yield (
            f"{_counted(len(left_out), 'picture is', 'pictures are')} left out, the first "
            f"{left_out[0].name}: images are read from {', '.join(_SUFFIXES)}. Convert them"
        )
    kinds = list(dict.fromkeys(re.sub(r"[0-9]+", "#", file.name) for file in files))
    if len(kinds) > 1:
        shown = ", ".join(kinds[:3]) + (", ..." if len(kinds) > 3 else "")
        yield (
            f"its images have names of {len(kinds)} kinds ({shown}): all are taken, in the order "
            "of their names, as one clip. Give each camera or kind a folder of its own"
        )
        return
    if (pair := _disputed(names := [file.name for file in files])) is not None:
        yield (
            f"its names have numbers with a point, taken as two whole numbers: {pair[0]} before "
            f"{pair[1]}. If they are decimal fractions, as of seconds, give all as many digits"
        )
    missing, before = _missing_in(names)
    if missing:
        yield (
            f"{_counted(missing, 'number is', 'numbers are')} missing in its names, the first "
            f"behind {before}: images are taken as if none was. Where time passed there, cut it"
        )


def _disputed(names: Sequence[str]) -> tuple[str, str] | None:
    """Two names, one after the other, that decimal fractions would have the other way round.

    >>> _disputed(["1.5.png", "1.25.png"]), _disputed(["1.09.png", "1.10.png", "1.25.png"])
    (('1.5.png', '1.25.png'), None)

    What counts behind the point is none: `clip1.9.png`, `clip1.10.png`.
    """
    behind = [int(found[1]) for name in names if (found := re.search(r"[0-9]\.([0-9]+)", name))]
    if behind and len(set(behind)) == len(behind) > (max(behind) - min(behind)) / 2:
        return None
    for before, after in pairwise(names):
        if _by_fractions(before) > _by_fractions(after):
            return before, after
    return None


def _by_fractions(name: str) -> tuple[list[tuple[Fraction, str]], str]:
    """As `natural_order`, but for numbers with a point."""
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?)", name)
    return [
        (Fraction(part), "") if index % 2 else (Fraction(-1), part)
        for index, part in enumerate(parts)
    ], name


def _missing_in(names: Sequence[str]) -> tuple[int, str]:
    """How many numbers are left out of names that count in equal steps, and behind which name.

    >>> _missing_in(["a00.png", "a02.png", "a04.png", "a08.png"])
    (1, 'a04.png')
    >>> _missing_in(["1700000000.png", "1700000033.png", "1700000066.png", "1700000100.png"])
    (0, '')
    """
    numbers = [[int(number) for number in re.findall(r"[0-9]+", name)] for name in names]
    columns = list(zip(*numbers, strict=True))  # names of one kind have as many
    counting = [column for column in columns if len(set(column)) > 1]
    if len(counting) != 1:
        return 0, ""
    steps = [after - before for before, after in pairwise(counting[0])]
    step, times = Counter(steps).most_common(1)[0]
    if step < 1 or 2 * times <= len(steps) or any(one < 1 or one % step for one in steps):
        return 0, ""
    behind = next((name for name, one in zip(names, steps, strict=False) if one != step), "")
    return sum(one // step - 1 for one in steps), behind


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts numbers in names by value, and names of the same numbers as text.

    >>> sorted(["img10.png", "img9.png", "img1.png", "img01.png"], key=natural_order)
    ['img01.png', 'img1.png', 'img9.png', 'img10.png']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _doubts_about_pixels(image: Image.Image) -> Iterator[str]:
    """What is not used of an image, behind "it has"; by its header, but for transparency."""
    if _more_than_8_bits(image):
        yield (
            "more than 8 bits per value, of which the upper 8 are taken. If it is depth or heat, "
            "map its range to 8 bits yourself"
        )
    if image.has_transparency_data and (np.asarray(image.convert("RGBA"))[..., 3] < 255).any():
        yield (
            "transparency, which is not used: where it can be seen through, the colours that are "
            "stored there are taken. Lay it over a background first"
        )


def _more_than_8_bits(image: Image.Image) -> bool:
    """Before it is loaded: Pillow opens RGB of 16 bits as RGB."""
    tiles: Any = getattr(image, "tile", ())
    for tile in tiles:
        said = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(one, str) and ";16" in one for one in said):
            return True
        if image.format == "PPM" and any(isinstance(one, int) and one > 255 for one in said):
            return True
    return False


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
