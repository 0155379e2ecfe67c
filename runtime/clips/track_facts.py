"""What MP4 and Matroska say of a track and FFmpeg does not do: the part to show, changed speeds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vidtok_edge.bounded import Budget, TooMuchWork

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Crop", "TrackFacts", "facts_of"]


@dataclass(frozen=True, slots=True)
class Crop:
    """Rows and columns of the stored picture that are not shown."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """What is left of a picture: (H, W)."""
        return height - self.top - self.bottom, width - self.left - self.right


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """Of a video track."""

    crop: Crop = Crop()
    changed_speed: bool = False
    """Parts are held, shown at another speed, or parted by nothing, as an edit list of MP4 says."""


def facts_of(path: Path, container: InputContainer, stream: VideoStream) -> TrackFacts:
    """Of a stream of the file at `path`; nothing where that cannot be read, or is not sane."""
    name, codec = container.format.name, stream.codec_context
    try:
        with path.open("rb") as file:
            walk = _Walk(file, path.stat().st_size)
            if name.startswith("mov"):
                facts = _of_mp4(walk, int(stream.id))
            elif name.startswith("matroska"):
                facts = _of_matroska(walk, [one.index for one in container.streams.video], stream)
            else:
                return TrackFacts()
    except (OSError, TooMuchWork, ValueError, IndexError, struct.error):
        return TrackFacts()
    crop = facts.crop
    borders = (crop.left, crop.top, crop.right, crop.bottom)
    if min(borders) < 0 or min(crop.size_of(codec.height, codec.width)) < 1:
        return TrackFacts(changed_speed=facts.changed_speed)
    return facts


class _Walk:
    """Reads pieces of a file, for no more work than its size explains."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size, self._file = size, file
        self._budget = Budget(size, per_byte=2, at_least=1 << 20)

    def at(self, place: int, size: int) -> bytes:
        """Fewer at the end."""
        self._budget.spend(size)
        self._file.seek(place)
        return self._file.read(size)

    def boxes(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Of MP4: type, begin of what is inside, and end."""
        while start + 8 <= end:
            size, kind = struct.unpack(">I4s", self.at(start, 8))
            inside = start + 8
            if size == 1:
                (size,), inside = struct.unpack(">Q", self.at(inside, 8)), start + 16
            last = end if size == 0 else start + size
            if last < inside or last > end:
                return
            yield kind, inside, last
            start = last

    def elements(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Of Matroska: number, begin of what is inside, and end; up to one without a size."""
        while start < end:
            head = self.at(start, 12)
            number, used = _variable(head, keep=True)
            size, more = _variable(head[used:])
            inside = start + used + more
            unknown = size == (1 << 7 * more) - 1
            last = end if unknown else inside + size
            if last > end and number != _SEGMENT:
                return
            yield number, inside, min(last, end)
            start = last


def _variable(data: bytes, keep: bool = False) -> tuple[int, int]:
    """A number of EBML, and its bytes; `keep` the bit that says how many."""
    length = 9 - data[0].bit_length() if data else 9
    if length > 8 or length > len(data):
        raise ValueError("no number")
    value = int.from_bytes(data[:length], "big")
    return value if keep else value & ((1 << 7 * length) - 1), length


# -- MP4: ISO/IEC 14496-12, 8.6.6 (edit lists) and 12.1.4 (clean aperture)


def _of_mp4(walk: _Walk, number: int) -> TrackFacts:
    for start, end in _inside(walk, 0, walk.size, b"moov"):
        for track_start, track_end in _inside(walk, start, end, b"trak"):
            if _number_of(walk, track_start, track_end) == number:
                return TrackFacts(
                    _aperture(walk, track_start, track_end),
                    _changes_speed(walk, track_start, track_end),
                )
    return TrackFacts()


def _inside(walk: _Walk, start: int, end: int, *path: bytes) -> Iterator[tuple[int, int]]:
    """What boxes hold that lie in one another."""
    for kind, inside, last in walk.boxes(start, end):
        if kind == path[0] and len(path) == 1:
            yield inside, last
        elif kind == path[0]:
            yield from _inside(walk, inside, last, *path[1:])


def _number_of(walk: _Walk, start: int, end: int) -> int | None:
    for inside, _ in _inside(walk, start, end, b"tkhd"):
        head = walk.at(inside, 24)
        return int.from_bytes(head[20:24] if head[0] == 1 else head[12:16], "big")
    return None


def _aperture(walk: _Walk, start: int, end: int) -> Crop:
    for inside, last in _inside(walk, start, end, b"mdia", b"minf", b"stbl", b"stsd"):
        for _, entry, entry_end in walk.boxes(inside + 8, last):
            width, height = struct.unpack(">HH", walk.at(entry + 24, 4))
            for place, _ in _inside(walk, entry + 78, entry_end, b"clap"):
                w, wd, h, hd, x, xd, y, yd = struct.unpack(">IIIIiIiI", walk.at(place, 32))
                if not (wd and hd and xd and yd):
                    return Crop()
                left, right = _borders(width, Fraction(w, wd), Fraction(x, xd))
                top, bottom = _borders(height, Fraction(h, hd), Fraction(y, yd))
                return Crop(left, top, right, bottom)
            return Crop()  # of the first of its sample descriptions
    return Crop()


def _borders(side: int, shown: Fraction, off_centre: Fraction) -> tuple[int, int]:
    before = round((side - shown) / 2 + off_centre)
    return before, side - before - round(shown)


def _changes_speed(walk: _Walk, start: int, end: int) -> bool:
    for inside, last in _inside(walk, start, end, b"edts", b"elst"):
        entry = struct.Struct(">8xqhh" if walk.at(inside, 1) == b"\1" else ">4xihh")
        data = walk.at(inside + 8, last - inside - 8)
        edits = list(entry.iter_unpack(data[: len(data) - len(data) % entry.size]))
        while edits and edits[0][0] < 0:  # nothing, at the beginning
            del edits[0]
        if any(media_time < 0 or (rate, part) != (1, 0) for media_time, rate, part in edits):
            return True
    return False


# -- Matroska: RFC 9559, 5.1.4.1.28

_SEGMENT, _TRACKS, _ENTRY, _TYPE, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0xE0
_CROPS = {0x54CC: "left", 0x54BB: "top", 0x54DD: "right", 0x54AA: "bottom"}


def _of_matroska(walk: _Walk, streams: list[int], stream: VideoStream) -> TrackFacts:
    crops = list(_crops(walk))
    place = streams.index(stream.index)
    # Covers are streams behind those of tracks.
    return TrackFacts(crops[place]) if place < len(crops) else TrackFacts()


def _crops(walk: _Walk) -> Iterator[Crop]:
    """Of each video track, in order."""
    for number, start, end in walk.elements(0, walk.size):
        if number != _SEGMENT:
            continue
        for part, inside, last in walk.elements(start, end):
            if part == _TRACKS:
                for entry, track, track_end in walk.elements(inside, last):
                    if entry == _ENTRY:
                        yield from _crop_of(walk, track, track_end)
                return


def _crop_of(walk: _Walk, start: int, end: int) -> Iterator[Crop]:
    kind, borders = 0, {}
    for number, inside, last in walk.elements(start, end):
        if number == _TYPE:
            kind = int.from_bytes(walk.at(inside, min(8, last - inside)), "big")
        elif number == _VIDEO:
            for part, place, part_end in walk.elements(inside, last):
                if part in _CROPS:
                    value = walk.at(place, min(8, part_end - place))
                    borders[_CROPS[part]] = int.from_bytes(value, "big")
    if kind == 1:
        yield Crop(**borders)
