"""What is said of a folder of images: of its names, and of pixels that are not used whole."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from vidtok_edge.errors import ClipError
from vidtok_edge.runtime.clips.image_folder import ImageFolderReader, _missing_in
from vidtok_edge.runtime.clips.reading import ClipReader

SIZE = 8, 12
RNG = np.random.default_rng(5)
PICTURE = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def read(folder: Path) -> tuple[list[NDArray[np.uint8]], tuple[str, ...]]:
    with ImageFolderReader(folder, size=SIZE, fps=10) as images:
        return [frame.pixels for frame in images], images.doubts


def filled(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        Image.fromarray(PICTURE).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a1.png", "a2.png", "a3.png", "a4.png"], None),
        (["c0_00.png", "c0_05.png", "c0_10.png", "c0_15.png"], None),
        (["17000.png", "17033.png", "17066.png", "17100.png"], None),
        (["one.png"], None),
        (["a1.png", "a2.png", "a3.png", "a5.png"], "1 number is missing in its names"),
        (["a1.png", "a2.png", "a3.png", "a5.png"], "the first behind a3.png"),
        (["c0_00.png", "c0_05.png", "c0_10.png", "c0_30.png"], "3 numbers are missing"),
        (["a1.png", "a2.png", "b1.png"], "names of 2 kinds (a#.png, b#.png)"),
        (["a1.png", "a1.bmp"], "names of 2 kinds (a#.bmp, a#.png)"),
        (["a1.png", "a2.gif", "a3.png"], "1 picture is left out, the first a2.gif"),
    ],
)
def test_names_that_may_not_mean_one_clip(
    tmp_path: Path, names: list[str], said: str | None
) -> None:
    frames, doubts = read(filled(tmp_path, names))
    assert len(frames) == sum(not name.endswith(".gif") for name in names)
    assert len(doubts) == (said is not None) and (said or "") in "".join(doubts)


@given(
    st.integers(0, 1000),
    st.integers(1, 9),
    st.sets(st.integers(0, 29), max_size=8),
)
def test_numbers_that_are_missing_are_counted(first: int, step: int, gone: set[int]) -> None:
    names = [f"v2_{first + step * i:07}.png" for i in range(30) if i not in gone]
    inside = [
        i for i in sorted(gone) if min(set(range(30)) - gone) < i < max(set(range(30)) - gone)
    ]
    missing, behind = _missing_in(names)
    assert missing == len(inside)
    assert (behind == "") == (not inside)
    if inside:
        before = max(i for i in set(range(30)) - gone if i < inside[0])
        assert behind == f"v2_{first + step * before:07}.png"


@pytest.mark.parametrize(
    ("names", "disputed"),
    [
        (["1700000000.5", "1700000000.25", "1700000001.125"], True),
        (["1700000000.50", "1700000000.25", "1700000001.12"], False),
        (["left_0.9", "left_0.12", "left_1.3"], True),
        ([f"clip1.{number}" for number in range(5, 15)], False),
        ([f"clip{number}" for number in range(5, 15)], False),
    ],
)
def test_numbers_with_a_point_whose_order_is_not_known_are_told(
    tmp_path: Path, names: list[str], disputed: bool
) -> None:
    filled(tmp_path, [f"{name}.png" for name in names])
    _, doubts = read(tmp_path)
    assert any("decimal fractions" in doubt for doubt in doubts) == disputed


def png_of_16_bits(path: Path, values: NDArray[np.uint16]) -> None:
    """RGB; Pillow does not write it."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.parametrize("kind", ["png", "ppm"])
def test_bits_that_are_dropped_are_said(tmp_path: Path, kind: str) -> None:
    deep = RNG.integers(0, 1 << 16, (*SIZE, 3), dtype=np.uint16)
    for number in range(2):
        path = tmp_path / f"{number}.{kind}"
        if kind == "png":
            png_of_16_bits(path, deep)
        else:
            path.write_bytes(b"P6 %d %d 65535\n" % SIZE[::-1] + deep.astype(">u2").tobytes())
    frames, doubts = read(tmp_path)
    assert np.abs(frames[0].astype(int) - deep / 257).max() <= 1
    assert [doubt.split(",")[0] for doubt in doubts] == ["2 images have more than 8 bits per value"]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize("seen_through", [True, False])
def test_transparency_is_said_where_there_is_some(
    tmp_path: Path, mode: str, seen_through: bool
) -> None:
    image = Image.fromarray(PICTURE)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.full(SIZE, 90 if seen_through else 255, np.uint8)))
        image = image.convert(mode)
    elif mode == "P":
        image = image.quantize(16)
    options: dict[str, Any] = (
        {"transparency": image.getpixel((0, 0))} if mode == "P" and seen_through else {}
    )
    image.save(tmp_path / "1.png", **options)
    _, doubts = read(tmp_path)
    said = seen_through and mode != "RGB"
    assert [doubt.split(",")[0] for doubt in doubts] == ["1 image has transparency"] * said


@pytest.mark.parametrize("kind", ["cut", "other size"])
def test_nothing_is_said_of_the_pixels_of_an_image_that_is_not_used(
    tmp_path: Path, kind: str
) -> None:
    filled(tmp_path, ["1.png"])
    deep = RNG.integers(0, 1 << 16, (SIZE[0], SIZE[1] + 2, 3), dtype=np.uint16)
    png_of_16_bits(tmp_path / "2.png", deep[:, : SIZE[1]] if kind == "cut" else deep)
    if kind == "cut":
        os.truncate(tmp_path / "2.png", 200)
    with ImageFolderReader(tmp_path, size=SIZE, fps=10) as images:
        assert len(list(images)) == 1
    assert images.doubts == ()
    assert images.report.lost is not None and images.report.lost.endswith("; 1 image was not used")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "moving.webp"])
def test_a_picture_that_is_named_as_a_clip_is_told_from_a_damaged_one(
    tmp_path: Path, name: str
) -> None:
    image = Image.fromarray(PICTURE)
    if name == "moving.webp":
        image.save(tmp_path / name, save_all=True, append_images=[image.rotate(180)])
    else:
        image.save(tmp_path / name)
    with pytest.raises(ClipError, match=r"is a picture, or several .* take their folder"):
        ClipReader(tmp_path / name, size=SIZE)
