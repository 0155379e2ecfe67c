"""Arrays from files that are not trusted: nothing is read beyond what the caller allows."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vidtok_edge.runtime.npz import Judge, array_of, damage_told, member, write_arrays
from vidtok_edge.runtime.npz import read_array as read_array_of


def anything(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Judge that allows what is small."""
    if np.prod(shape, dtype=object) * dtype.itemsize > 1 << 16:
        raise ValueError(f"{name} is too large")


def read_array(file: Any, name: str, judge: Judge, size: int = 1 << 30) -> NDArray[Any]:
    return read_array_of(file, name, judge, stored=size, length=size)


def npy(array: NDArray[Any], version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    npy_format.write_array(file, array, version=version)
    return file.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_comes_back(version: tuple[int, int], order: Any) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4), order=order)
    read = read_array(io.BytesIO(npy(array, version)), "a", anything)
    assert read.flags.c_contiguous and read.flags.writeable
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_same_arrays_are_the_same_bytes_and_numpy_reads_them(
    tmp_path: Path, compression: int
) -> None:
    arrays = {"a": np.zeros((3, 0)), "b": np.arange(5)}
    for name in ("1", "2"):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            write_arrays(archive, arrays)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    with np.load(tmp_path / "1", allow_pickle=False) as file, zipfile.ZipFile(tmp_path / "1") as z:
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
            np.testing.assert_array_equal(array_of(z, name, anything), array)


class Claims(io.RawIOBase):
    """A file that goes on for ever, and counts what is read of it."""

    def __init__(self, start: bytes) -> None:
        self.start, self.taken = start, 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        self.taken += size
        part, self.start = self.start[:size], self.start[size:]
        return part.ljust(size, b" ")


def test_no_header_is_read_whatever_it_claims() -> None:
    claims: Any = Claims(b"\x93NUMPY\x02\x00" + struct.pack("<I", (1 << 32) - 1))
    with pytest.raises(ValueError, match="the header of a claims 4294967295 bytes"):
        read_array(claims, "a", anything)
    assert claims.taken < 100


def test_no_data_is_read_that_the_judge_refuses() -> None:
    header = npy(np.zeros(1))[:-8].replace(b"(1,)", b"(1 << 60,)")
    with pytest.raises(ValueError):  # an expression, not a number
        read_array(io.BytesIO(header), "a", anything)
    claims: Any = Claims(npy(np.zeros(1))[:-8].replace(b"(1,), }    ", b"(99999,), }"))
    with pytest.raises(ValueError, match="a is too large"):
        read_array(claims, "a", anything)
    assert claims.taken < 200


def test_objects_are_not_read_whatever_the_judge_says() -> None:
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}]), allow_pickle=True)
    pickled.seek(0)
    with pytest.raises(ValueError, match="pickled"):
        read_array(pickled, "a", anything)


def test_a_member_is_limited(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 5000)
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert len(member(archive, "zeros", 5000)) == 5000
        with pytest.raises(ValueError, match="zeros is larger than 4999 bytes"):
            member(archive, "zeros", 4999)


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_damage_is_a_value_error(header: bytes, data: bytes) -> None:
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data
    with pytest.raises(ValueError), damage_told():
        read_array(io.BytesIO(content), "a", anything)
