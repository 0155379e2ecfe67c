"""Pictures to look at: original and reconstruction side by side, and a contact sheet of both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, UsageError
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.files import require_not_read, write_beside

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError:
    raise MissingDependency("pillow", "video", "Drawing a contact sheet") from None

__all__ = ["GAP", "Samples", "contact_sheet", "frame_caption", "sheet_place", "side_by_side"]

GAP = 8  # pixels between pictures; even, so that a clip of two has an even width
_MARGIN = 24
_MAX_SIDE = 16384  # of the sheet: most viewers stop about there
_READABLE_WIDTH = 192  # smaller pictures are enlarged, pixel by pixel
_AMPLIFIED = 4
_ROWS = ("original", "reconstruction", f"difference x{_AMPLIFIED}")
# Grey, so that a white picture has an edge.
_BACKGROUND, _INK, _FAINT = (236, 236, 236), (24, 24, 24), (100, 100, 100)

Pixels = NDArray[np.uint8]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def frame_caption(index: int, time_ns: int, psnr_db: float) -> str:
    """The caption of a column.

    >>> frame_caption(12, 400_000_000, 31.24)
    'frame 12, 0.40 s\\n31.2 dB'
    """
    return f"frame {index}, {time_ns / 1e9:.2f} s\n{psnr_db:.1f} dB"


@dataclass(slots=True)
class Samples:
    """Evenly spaced frames of a clip of unknown length, at most twice `wanted` in memory."""

    wanted: int = 6
    stride: int = 1
    kept: list[tuple[str, Pixels, Pixels]] = field(default_factory=list)

    def offer(self, index: int, time_ns: int, a: Pixels, b: Pixels) -> None:
        """Take the next frame, and its reconstruction, if it may be shown; uint8 [H, W, 3]."""
        if index % self.stride:
            return
        if len(self.kept) == 2 * self.wanted:
            self.kept, self.stride = self.kept[::2], self.stride * 2
            if index % self.stride:
                return
        self.kept.append((frame_caption(index, time_ns, psnr(a, b)), a, b))

    def columns(self) -> list[tuple[str, Pixels, Pixels]]:
        """At most `wanted`, for `contact_sheet`; the first frame is always among them."""
        if len(self.kept) <= self.wanted:
            return self.kept
        places = np.linspace(0, len(self.kept) - 1, self.wanted).round().astype(int)
        return [self.kept[i] for i in places]


def side_by_side(original: Pixels, reconstruction: Pixels) -> Pixels:
    """uint8 [H, W, 3] twice to uint8 [H, 2 W + GAP, 3], with white between.

    Raises UsageError when the shapes differ.
    """
    _require_pair(original, reconstruction)
    between = np.full((original.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([original, between, reconstruction], axis=1)


def sheet_place(
    clip: str | os.PathLike[str],
    output: str | os.PathLike[str],
    picture: str | os.PathLike[str] | None,
) -> Path:
    """Where the contact sheet of a reconstruction is written: `picture`; None: beside `output`.

    Args:
        clip: that is read, a file or a folder of images.
        output: the side-by-side clip.

    Raises UsageError where one of the three would take the place of another, `output` is a folder,
    or the sheet would be one of the images of `clip`.
    """
    if os.path.isdir(output):
        raise UsageError(f"{output} is a folder. Name a file, for example one inside it.")
    sheet = Path(picture) if picture is not None else Path(output).with_suffix(".png")
    if sheet.suffix.lower() != ".png":
        raise UsageError(f"{sheet}: the contact sheet is stored as .png. Name it so.")
    if os.path.realpath(sheet) == os.path.realpath(output):
        raise UsageError(f"{sheet} is the name of the clip and of its picture. Name two files.")
    require_not_read(output, clip)
    require_not_read(sheet, clip)
    # A link to a picture elsewhere lies in the folder, too.
    folders = (os.path.realpath(sheet.parent), os.path.dirname(os.path.realpath(sheet)))
    if os.path.isdir(clip) and (os.path.realpath(clip) in folders or _links_to(clip, sheet)):
        raise UsageError(
            f"{sheet}: the picture would be one of the images of {clip}; name it elsewhere with "
            "--picture."
        )
    return sheet


def _links_to(folder: str | os.PathLike[str], place: Path) -> bool:
    """Whether a link in a folder leads to that place."""
    real = os.path.realpath(place)
    with suppress(OSError), os.scandir(folder) as found:  # told where it is read
        return any(one.is_symlink() and os.path.realpath(one.path) == real for one in found)
    return False


def contact_sheet(
    path: str | os.PathLike[str],
    columns: Sequence[tuple[str, Pixels, Pixels]],
    title: str,
    force: bool = False,
) -> None:
    """Write a PNG: one column per (caption, original, reconstruction), uint8 [H, W, 3].

    The rows are the original, the reconstruction, and their absolute difference times 4. A caption
    may have several lines; `frame_caption` makes one.

    Raises UsageError for no columns, too many, or shapes that differ; OutputExists and
    OutputNotWritable as `write_beside` does.
    """
    _require_columns(columns)
    sheet = _draw(columns, title)
    with write_beside(path, force) as temporary, temporary.open("wb") as file:
        sheet.save(file, format="PNG")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things lie on the sheet, in pixels."""

    left: int
    top: int
    column: int
    picture: tuple[int, int]
    size: tuple[int, int]

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """(x, y) of a picture, centred in its column."""
        x = self.left + column * (self.column + GAP) + (self.column - self.picture[0]) // 2
        return x, self.top + row * (self.picture[1] + GAP)


def _draw(columns: Sequence[tuple[str, Pixels, Pixels]], title: str) -> Image.Image:
    text, heading = _font(15), _font(20)
    layout = _layout([caption for caption, _, _ in columns], columns[0][1], title, text, heading)
    sheet = Image.new("RGB", layout.size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=heading)
    for row, label in enumerate(_ROWS):
        y = layout.corner(row, 0)[1] + layout.picture[1] // 2
        lines = label.replace(" ", "\n")
        _, height = _extent(lines, text)
        draw.multiline_text((_MARGIN, y - height // 2), lines, fill=_FAINT, font=text)
    for index, (caption, original, reconstruction) in enumerate(columns):
        x, y = layout.corner(0, index)
        width, height = _extent(caption, text)
        place = (x + (layout.picture[0] - width) // 2, y - height - GAP)
        draw.multiline_text(place, caption, fill=_INK, font=text, align="center")
        for row, pixels in enumerate(
            (original, reconstruction, _difference(original, reconstruction))
        ):
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            zoomed = picture.resize(layout.picture, Image.Resampling.NEAREST)
            sheet.paste(zoomed, layout.corner(row, index))
    return sheet


def _layout(
    captions: Sequence[str], sample: Pixels, title: str, text: _Font, heading: _Font
) -> _Layout:
    height, width = sample.shape[:2]
    zoom = max(1, round(_READABLE_WIDTH / width))
    picture = (width * zoom, height * zoom)
    sizes = [_extent(caption, text) for caption in captions]
    column = max(picture[0], *(w for w, _ in sizes))
    left = _MARGIN + max(_extent(r.replace(" ", "\n"), text)[0] for r in _ROWS) + 2 * GAP
    title_width, title_height = _extent(title, heading)
    top = _MARGIN + title_height + _MARGIN + max(h for _, h in sizes) + GAP
    right = left + len(captions) * (column + GAP) - GAP
    bottom = top + len(_ROWS) * (picture[1] + GAP) - GAP
    size = (max(right, _MARGIN + title_width) + _MARGIN, bottom + _MARGIN)
    if max(size) > _MAX_SIDE:
        raise UsageError(
            f"The sheet would be {size[0]}x{size[1]} pixels; allowed: {_MAX_SIDE} each way. "
            "Show fewer or smaller frames."
        )
    return _Layout(left, top, column, picture, size)


def _difference(original: Pixels, reconstruction: Pixels) -> Pixels:
    """The absolute difference, amplified until small errors can be seen."""
    difference = np.abs(original.astype(np.int16) - reconstruction) * _AMPLIFIED
    amplified: Pixels = np.minimum(difference, 255).astype(np.uint8)
    return amplified


def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _extent(text: str, font: _Font) -> tuple[int, int]:
    """(width, height) in pixels from the corner at which `text` is drawn."""
    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, font=font)
    return int(np.ceil(box[2])), int(np.ceil(box[3]))


def _require_columns(columns: Sequence[tuple[str, Pixels, Pixels]]) -> None:
    if not columns:
        raise UsageError("A contact sheet of no frames was asked for; give at least one column.")
    for _, original, reconstruction in columns:
        _require_pair(original, reconstruction)
        if original.shape != columns[0][1].shape:
            raise UsageError(
                f"Columns of {original.shape} and {columns[0][1].shape}: all must be equal."
            )


def _require_pair(a: Pixels, b: Pixels) -> None:
    if a.ndim != 3 or a.shape[2] != 3 or a.size == 0 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise UsageError(f"Got a picture of {a.dtype} {a.shape}; allowed: uint8 [H, W, 3].")
    if a.shape != b.shape:
        raise UsageError(f"The original is {a.shape}, the reconstruction {b.shape}: not equal.")
