"""Arrays in `.npy` and `.npz` files that are not trusted: judged by their header before their data.

A header may claim any size, and zeros compress 1000 to 1; nothing is read, and no memory taken,
beyond what the caller allows. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vidtok_edge.errors import VidTokEdgeError

__all__ = ["Judge", "array_of", "damage_told", "member", "read_array", "write_arrays"]

Judge = Callable[[str, tuple[int, ...], "np.dtype[Any]"], None]
"""Raises unless an array of this name, shape and type may be read: it bounds what is."""

_LARGEST_HEADER = 10_000  # bytes, as NumPy's own limit, which it looks at after reading


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
    with archive.open(name) as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"{name} is larger than {largest} bytes")
    return data


def array_of(archive: zipfile.ZipFile, name: str, judge: Judge) -> NDArray[Any]:
    """The array called `name` of an `.npz`; as `read_array`."""
    with archive.open(f"{name}.npy") as file:
        return read_array(file, name, judge)


def read_array(file: IO[bytes], name: str, judge: Judge) -> NDArray[Any]:
    """The array of a `.npy`, in C order: header, judgement, and only then the data.

    Raises what `judge` does; ValueError: of another version, cut short or too long.
    """
    shape, column_major, dtype = _header(file, name)
    judge(name, shape, dtype)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled Python objects")
    size = dtype.itemsize * int(np.prod(shape, dtype=object))
    data = file.read(size + 1)  # one more: to reach the end, where zip compares its checksum
    if len(data) != size:
        raise ValueError(f"the data of {name} is cut short or too long")
    array: NDArray[Any] = np.frombuffer(data, dtype)
    return np.array(array.reshape(shape, order="F" if column_major else "C"), order="C")


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
