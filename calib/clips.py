"""The clips that a calibration is made from: found, read once to the end, and named.

A clip that turns out bad half-way would have left its mark on the histograms already. So every clip
is decoded once before the calibration begins: that costs little beside what a model does with the
same frames, and too few usable clips are told at once and not after an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import CalibrationError, ClipError, UsageError
from vidtok_edge.hashes import sha256_of
from vidtok_edge.vidtok_ref import embedded_file

__all__ = ["SHIPPED", "SUFFIXES", "Clip", "ClipList", "SkippedClip", "UsedClip", "find_clips"]

SUFFIXES = (
    ".3gp",
    ".avi",
    ".flv",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ogv",
    ".ts",
    ".webm",
    ".wmv",
    ".y4m",
)
"""What is taken for a clip inside a folder; a clip named by itself may have any other."""

SHIPPED = ("clip_robot.mp4", "clip_hard.mp4")
"""What ships with the package and is calibrated on by default. The second has fast pans, small
text, darkness and noise: ranges of quiet clips alone lost a third of the tokens of such frames."""

_LONGEST_LIST = 1 << 20  # bytes
_SHOWN = 5  # skipped clips in a message


@dataclass(frozen=True, slots=True)
class UsedClip:
    """What a calibration keeps of a clip: `frames` were used, from its beginning."""

    name: str
    sha256: str
    frames: int


@dataclass(frozen=True, slots=True)
class SkippedClip:
    """A clip that was found and not used, and the sentence, naming it, that says why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A usable clip and where it lies; the path stays out of all that is written."""

    path: Path
    facts: UsedClip
    doubts: tuple[str, ...] = ()
    """What a tokenizer was not made for, and what could not be read; see `ClipReader`."""


@dataclass(frozen=True, slots=True)
class ClipList:
    """Usable clips, in the order of their names, and those that were skipped.

        clips = find_clips(folder, size=(256, 256), least_frames=4, frames=64)
        for clip in clips:
            for frame in clips.frames(clip): ...

    `size` is (H, W) of the frames.
    """

    clips: tuple[Clip, ...]
    skipped: tuple[SkippedClip, ...]
    size: tuple[int, int]

    @property
    def used(self) -> tuple[UsedClip, ...]:
        """The facts of the usable clips."""
        return tuple(clip.facts for clip in self.clips)

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def frames(self, clip: Clip) -> Iterator[NDArray[np.uint8]]:
        """The frames of one clip that are used, each [H, W, 3] RGB; one in memory at a time.

        Raises ClipError or CalibrationError where the clip is not what it was when it was found.
        """
        read = 0
        for pixels in _read(clip.path, self.size, clip.facts.frames):
            yield pixels
            read += 1
        if read < clip.facts.frames:
            raise CalibrationError(
                f"{clip.path} had {clip.facts.frames} frames and now ends after {read}: it changed "
                "while it was used. Calibrate again when the clips are complete."
            )


def find_clips(
    data: Path | None, *, size: tuple[int, int], least_frames: int, frames: int | None = None
) -> ClipList:
    """Find the clips at `data` and read each to its end, or to its first `frames` frames.

    Frames are scaled and cropped to `size`, taken as they are however they are spaced in time. A
    clip that cannot be read, or has fewer than `least_frames`, is skipped; but at least half of the
    clips must be usable.

    Args:
        data: a folder (searched with the folders in it, hidden files left out), a `.txt` file with
            one path per line (relative to it; `#` begins a comment line), one clip, or None:
            `SHIPPED`.
        size: (H, W) of the bundle.
        least_frames: of a chunk.
        frames: at most so many of each clip; None: all.

    Raises:
        CalibrationError: nothing there, no clip, or less than half of them usable.
        UsageError: `frames` is less than `least_frames`.
    """
    if frames is not None and frames < least_frames:
        raise UsageError(
            f"{frames} frames of each clip were asked for; a chunk has {least_frames}. "
            f"Ask for {least_frames} or more."
        )
    usable: list[Clip] = []
    skipped: list[SkippedClip] = []
    for name, path in _named(data):
        try:
            count, doubts = _read_through(path, size, frames)
            if count < least_frames:
                raise ClipError(
                    f"{path} has {count} frames; a chunk has {least_frames}. Use a longer clip."
                )
            usable.append(Clip(path, UsedClip(name, _sha256(path), count), doubts))
        except ClipError as error:
            skipped.append(SkippedClip(name, _printable(str(error).replace(str(path), name))))
    _require_enough(usable, skipped)
    return ClipList(tuple(usable), tuple(skipped), size)


def _read_through(
    path: Path, size: tuple[int, int], frames: int | None
) -> tuple[int, tuple[str, ...]]:
    """How many frames there are, of those that are asked for, and what there is to say of them."""
    from vidtok_edge.runtime.clips.reading import ClipReader  # PyAV: to import us takes none

    with ClipReader(path, size=size, rate="every-frame") as reader:
        count = sum(1 for _ in islice(reader, frames))
        return count, (*reader.doubts, *filter(None, (reader.report.lost,)))


def _read(path: Path, size: tuple[int, int], frames: int | None) -> Iterator[NDArray[np.uint8]]:
    from vidtok_edge.runtime.clips.reading import ClipReader

    with ClipReader(path, size=size, rate="every-frame") as reader:
        for frame in islice(reader, frames):
            yield frame.pixels


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:  # it was readable a moment ago
        raise ClipError(f"{path} cannot be read: {error.strerror}.") from error


def _require_enough(usable: list[Clip], skipped: list[SkippedClip]) -> None:
    found = len(usable) + len(skipped)
    if usable and 2 * len(usable) >= found:
        return
    shown = [f"\n  {clip.why}" for clip in skipped[:_SHOWN]]
    more = f"\n  and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    raise CalibrationError(
        f"{len(usable)} of {found} clips can be used; at least half are needed, or the ranges "
        f"would not be those of the data you named. Remove or repair:{''.join(shown)}{more}"
    )


# -- names


def _named(data: Path | None) -> list[tuple[str, Path]]:
    """Each clip's name, for records, and path."""
    if data is None:
        return [(path.name, path) for path in map(embedded_file, SHIPPED)]
    try:
        if not data.exists():
            raise CalibrationError(
                f"{data} does not exist. Name a folder of clips, a .txt file that lists clips, or "
                "one clip."
            )
        if data.is_dir():
            return _in_folder(data)
        if data.suffix.lower() == ".txt":
            return _in_list(data)
    except (OSError, RuntimeError, ValueError) as error:  # Runtime: a loop of links, before 3.13
        reason = getattr(error, "strerror", None) or error
        raise CalibrationError(f"{data} cannot be read: {reason}.") from error
    return [(_printable(data.name), data)]


def _in_folder(folder: Path) -> list[tuple[str, Path]]:
    found = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)  # ._clip.mp4 of macOS, .trash
        if path.suffix.lower() in SUFFIXES and not hidden and not path.is_dir():
            found.append((_printable(inside.as_posix()), path))
    if not found:
        raise CalibrationError(
            f"{folder} holds no clips: no file in it, or in the folders in it, ends in "
            f"{' '.join(SUFFIXES)}."
        )
    return sorted(found)


def _in_list(file: Path) -> list[tuple[str, Path]]:
    with file.open("rb") as opened:
        data = opened.read(_LONGEST_LIST + 1)
    if len(data) > _LONGEST_LIST:
        raise CalibrationError(
            f"{file} is larger than 1 MiB: no list of clips. Name a file with one path per line."
        )
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise CalibrationError(
            f"{file} is not UTF-8 text ({error.reason} at byte {error.start}). Name a file with "
            "one path per line."
        ) from None
    paths = [Path(line) for line in lines if line and not line.startswith("#")]
    if not paths:
        raise CalibrationError(f"{file} lists no clips. Write one path per line into it.")
    # The folders of an absolute path are the user's own business, and bundles are passed on.
    return [
        (_printable(path.name if path.is_absolute() else path.as_posix()), file.parent / path)
        for path in paths
    ]


def _printable(text: str) -> str:
    """A file name that is not UTF-8 holds halves of UTF-16 pairs, which our JSON refuses."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
