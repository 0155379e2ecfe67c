"""The part of the picture that a container shows, and edit lists, against boxes put in by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from clips import make_clip, noisy
from numpy.typing import NDArray

from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.clips.track_facts import TrackFacts, facts_of

Box = tuple[bytes, int]  # type, and bytes of it before what lies inside

TRAK: list[Box] = [(b"moov", 8), (b"trak", 8)]
ENTRY: list[Box] = [*TRAK, (b"mdia", 8), (b"minf", 8), (b"stbl", 8), (b"stsd", 16), (b"mp4v", 86)]
TICKS = 1000  # of a movie, in a second


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def place_of(data: bytes, path: list[Box], start: int, end: int) -> list[int]:
    """Where each box of a path begins."""
    (kind, head), rest = path[0], path[1:]
    while start < end:
        size = int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == kind:
            return [start, *(place_of(data, rest, start + head, start + size) if rest else [])]
        start += size
    raise AssertionError(kind)


def put_in(path: Path, boxes: list[Box], new: bytes, instead_of: bytes = b"") -> Path:
    """An mp4, whose header is behind its pictures, with a box more."""
    data = bytearray(path.read_bytes())
    if instead_of:
        at = place_of(bytes(data), [*boxes, (instead_of, 8)], 0, len(data))[-1]
        data[at + 4 : at + 8] = b"free"
    places = place_of(bytes(data), boxes, 0, len(data))
    size = int.from_bytes(data[places[-1] : places[-1] + 4], "big")
    data[places[-1] + size : places[-1] + size] = new
    for at in places:
        size = int.from_bytes(data[at : at + 4], "big")
        data[at : at + 4] = (size + len(new)).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def shown(path: Path, size: tuple[int, int]) -> tuple[tuple[int, int], NDArray[np.uint8]]:
    with ClipReader(path, size=size) as clip:
        return clip.native_size, next(iter(clip)).pixels


def clean_aperture(width: int, height: int, x: tuple[int, int], y: tuple[int, int]) -> bytes:
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, *x, *y))


@pytest.mark.parametrize(
    ("aperture", "rows", "columns"),
    [
        (clean_aperture(40, 30, (0, 1), (0, 1)), (17, 47), (12, 52)),
        (clean_aperture(41, 64, (-3, 2), (0, 1)), (0, 64), (10, 51)),
        (clean_aperture(64, 20, (0, 1), (22, 1)), (44, 64), (0, 64)),
    ],
)
def test_the_clean_aperture_is_what_is_shown(
    tmp_path: Path, aperture: bytes, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    whole = make_clip(tmp_path / "a.mp4", noisy(2), codec="mpeg4")
    _, pixels = shown(whole, (64, 64))
    size = rows[1] - rows[0], columns[1] - columns[0]
    native, cut = shown(put_in(whole, ENTRY, aperture), size)
    assert native == size
    assert np.array_equal(cut, pixels[slice(*rows), slice(*columns)])


@pytest.mark.parametrize(
    "aperture",
    [
        clean_aperture(80, 64, (0, 1), (0, 1)),
        clean_aperture(0, 64, (0, 1), (0, 1)),
        clean_aperture(40, 40, (0, 0), (0, 1)),
        clean_aperture(40, 40, (30, 1), (0, 1)),
        b"\0\0\0\x0cclap\0\0\0\0",
        b"\0\0\0\x08clap",
    ],
)
def test_a_part_that_is_not_in_the_picture_is_none(tmp_path: Path, aperture: bytes) -> None:
    path = put_in(make_clip(tmp_path / "a.mp4", noisy(2), codec="mpeg4"), ENTRY, aperture)
    assert shown(path, (64, 64))[0] == (64, 64)


def test_a_part_is_turned_with_the_picture(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", noisy(2), codec="mpeg4", rotation=90)
    _, pixels = shown(path, (64, 64))
    native, cut = shown(put_in(path, ENTRY, clean_aperture(40, 30, (-12, 1), (0, 1))), (40, 30))
    assert native == (40, 30)
    places = np.argwhere((pixels[:-39, :-29, None] == cut[0, 0]).all(-1))
    assert any(np.array_equal(pixels[y : y + 40, x : x + 30], cut) for y, x, _ in places)


def put_in_matroska(data: bytes, path: list[int], new: bytes) -> bytes:
    """A file with elements more, in the first element that lies so in others, by their numbers."""
    grown, start, end = bytearray(data), 0, len(data)
    for wanted in path:
        number, inside = 0, start
        while number != wanted:
            start = inside if not number else end
            used = 9 - data[start].bit_length()
            number = int.from_bytes(data[start : start + used], "big")
            start += used
            length = 9 - data[start].bit_length()
            claim = int.from_bytes(data[start : start + length], "big")
            inside = start + length
            end = inside + (claim & ((1 << 7 * length) - 1))
        grown[start:inside] = (claim + len(new)).to_bytes(inside - start, "big")
        start = inside
    grown[end:end] = new
    return bytes(grown)


def test_matroska_crops_pixels(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", noisy(2), codec="ffv1")
    _, pixels = shown(path, (64, 64))
    crops = b"\x54\xcc\x81\x0b\x54\xdd\x81\x02\x54\xbb\x82\0\x07\x54\xaa\x81\x20"
    video = [0x18538067, 0x1654AE6B, 0xAE, 0xE0]
    path.write_bytes(put_in_matroska(path.read_bytes(), video, crops))
    native, cut = shown(path, (25, 51))
    assert native == (25, 51)
    assert np.array_equal(cut, pixels[7:32, 11:62])


def edits(*entries: tuple[int, int, int]) -> bytes:
    """Of ticks that a part lasts, the time of its first picture (-1: none), and the speed."""
    body = b"".join(struct.pack(">IiHH", *entry, 0) for entry in entries)
    return box(b"edts", box(b"elst", struct.pack(">II", 0, len(entries)) + body))


@pytest.mark.parametrize(
    ("entries", "changed"),
    [
        ([(TICKS, 0, 1)], False),
        ([(500, -1, 1), (TICKS, 0, 1)], False),
        ([(200, 0, 1), (200, 0, 1)], False),
        ([(TICKS, 0, 2)], True),
        ([(200, 0, 1), (TICKS, 0, 0)], True),
        ([(200, 0, 1), (500, -1, 1), (200, 0, 1)], True),
    ],
)
def test_an_edit_list_that_is_not_followed_is_told(
    tmp_path: Path, entries: list[tuple[int, int, int]], changed: bool
) -> None:
    path = make_clip(tmp_path / "a.mp4", 30, codec="mpeg4")
    put_in(path, TRAK, edits(*entries), instead_of=b"edts")
    with ClipReader(path, size=(64, 96), rate="every-frame") as clip:
        assert ("changes the speed" in " ".join(clip.doubts)) == changed


def test_a_track_that_ends_in_its_header_has_no_facts(tmp_path: Path) -> None:
    """The last box of the file is that of a track's header, and empty."""
    path = make_clip(tmp_path / "a.mp4", 2, codec="mpeg4")
    with av.open(path) as container:
        path.write_bytes(box(b"moov", box(b"trak", box(b"tkhd", b""))))
        assert facts_of(path, container, container.streams.video[0]) == TrackFacts()
