"""Arrays in `.npy` and `.npz` files that are not trusted: judged by their header before their data.

A header may claim any size, and zeros compress 1000 to 1; nothing is read, and no memory taken,
beyond what the caller allows and what the stored bytes can explain. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vidtok_edge.bounded import PIECE, TooLarge
from vidtok_edge.errors import VidTokEdgeError

__all__ = ["Judge", "array_of", "damage_told", "member", "read_array", "read_rows", "write_arrays"]

Judge = Callable[[str, tuple[int, ...], "np.dtype[Any]"], None]
"""Raises unless an array of this name, shape and type may be read: it bounds what is."""

_LARGEST_HEADER = 10_000  # bytes, as NumPy's own limit, which it looks at after reading
_UNEXPLAINED = 1 << 28  # bytes of an array that may be stored in whatever few
_MOST_FOR_A_BYTE = 64  # beyond that: tokens of films are packed to half


@contextmanager
def damage_told() -> Iterator[None]:
    """Turns what zipfile, zlib, tokenize and ast raise for damage into ValueError.

    They have their own errors, and no base in common.
    """
    try:
        yield
    except (VidTokEdgeError, ValueError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(str(error)) from error


def member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """A member of a zip file; ValueError where it has more than `largest` bytes."""
    if archive.getinfo(name).file_size > largest:
        raise TooLarge(f"{name} is larger than {largest} bytes")
    content = bytearray()
    with archive.open(name) as file:
        while part := file.read(min(PIECE, largest + 1 - len(content))):
            content += part
    if len(content) > largest:
        raise TooLarge(f"{name} is larger than {largest} bytes")
    return bytes(content)


def array_of(archive: zipfile.ZipFile, name: str, judge: Judge) -> NDArray[Any]:
    """The array called `name` of an `.npz`; as `read_array`."""
    place = archive.getinfo(f"{name}.npy")
    with archive.open(place) as file:
        return read_array(file, name, judge, stored=place.compress_size, length=place.file_size)


def read_array(
    file: IO[bytes], name: str, judge: Judge, *, stored: int, length: int
) -> NDArray[Any]:
    """The array of a `.npy`, in C order: header, judgement, and only then the data.

    Args:
        file: at the beginning of the `.npy`.
        name: for messages and for `judge`.
        judge: raises unless the array may be read.
        stored: bytes that `file` takes on disk, compressed or not. An array of more than 256 MiB
            may be at most 64 times as large.
        length: bytes of `file`, as far as is known.

    Raises what `judge` does; ValueError: of another version, of negative size, cut short or too
    long; TooLarge: more than the stored bytes explain.
    """
    shape, column_major, dtype = _header(file, name)
    if any(side < 0 for side in shape):
        raise ValueError(f"{name} claims the shape {shape}")
    judge(name, shape, dtype)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled Python objects")
    size = dtype.itemsize * math.prod(shape)
    if size > max(_UNEXPLAINED, _MOST_FOR_A_BYTE * stored):
        raise TooLarge(f"{name} claims {size} bytes, of which {stored} are stored")
    if size > length:
        raise ValueError(f"the data of {name} is cut short")
    array: NDArray[Any] = np.empty(shape, dtype, order="F" if column_major else "C")
    _fill(array.reshape(-1, order="A").view(np.uint8).data, file, name)
    return np.ascontiguousarray(array) if array.ndim else array


def read_rows(file: IO[bytes], name: str, judge: Judge, first: int, count: int) -> NDArray[Any]:
    """Rows `first` to `first + count` of the array of a `.npy` in C order; no more are in memory.

    What is behind them is not read, so no checksum of a zip file is compared.

    Args:
        file, name, judge: as of `read_array`; `judge` bounds what a row may be.

    Raises what `judge` does; ValueError: of another version or order, without these rows, or cut
    short.
    """
    shape, column_major, dtype = _header(file, name)
    judge(name, shape, dtype)
    if dtype.hasobject or column_major or not shape:
        raise ValueError(f"{name} is {dtype} {shape} in an order that is not read by rows")
    if not 0 <= first <= first + count <= shape[0]:
        raise ValueError(f"{name} has {shape[0]} rows, and not {first} to {first + count - 1}")
    row = dtype.itemsize * math.prod(shape[1:])
    _skip(file, first * row, name)
    array: NDArray[Any] = np.empty((count, *shape[1:]), dtype)
    target = array.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(target):
        part = file.read(min(PIECE, len(target) - done))
        if not part:
            raise ValueError(f"the data of {name} is cut short")
        target[done : done + len(part)] = part
        done += len(part)
    return array


def _skip(file: IO[bytes], length: int, name: str) -> None:
    """In pieces: a compressed member cannot be entered in the middle."""
    if file.seekable() and not isinstance(file, zipfile.ZipExtFile):
        file.seek(length, io.SEEK_CUR)
        return
    while length:
        part = file.read(min(PIECE, length))
        if not part:
            raise ValueError(f"the data of {name} is cut short")
        length -= len(part)


def _fill(target: memoryview, file: IO[bytes], name: str) -> None:
    """Read all of `target`, and meet the end of `file`, where zip compares its checksum."""
    done = 0
    while part := file.read(PIECE):
        if done + len(part) > len(target):
            break
        target[done : done + len(part)] = part
        done += len(part)
    if part or done != len(target):
        raise ValueError(f"the data of {name} is cut short or too long")


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} is of an unknown .npy version {version}; allowed: 1.0 and 2.0")
    length = file.read(2 if version == (1, 0) else 4)
    size = int.from_bytes(length, "little")
    if size > _LARGEST_HEADER:
        raise ValueError(f"the header of {name} claims {size} bytes")
    header = io.BytesIO(length + file.read(size))
    if version == (1, 0):
        return npy_format.read_array_header_1_0(header)
    return npy_format.read_array_header_2_0(header)


def write_arrays(archive: zipfile.ZipFile, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Add arrays as np.savez does, but without the time of day: the same arrays, the same bytes.

    They are compressed as the archive is.
    """
    for name, array in arrays.items():
        place = zipfile.ZipInfo(f"{name}.npy")
        place.compress_type = archive.compression
        with archive.open(place, "w", force_zip64=True) as target:
            npy_format.write_array(target, array, allow_pickle=False)
