"""Files that others made, read within bounds: by their size first, then no further than allowed.

A few bytes can claim any size, unpack to a thousand times their own, and make a search begin anew
at every byte. Every reader here takes what it may cost beforehand.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import IO, cast

__all__ = ["PIECE", "Budget", "TooLarge", "TooMuchWork", "opened_zip", "read_at_most"]

PIECE = 1 << 20
"""Bytes that are read at once: what a wrong claim costs at most."""


class TooLarge(ValueError):
    """A file, or a part of one, is larger than its reader allows."""


class TooMuchWork(Exception):
    """A file asks for more work than its size explains."""


def read_at_most(path: Path, largest: int) -> bytes:
    """The content of a file, or of a pipe, up to its end.

    Raises OSError; TooLarge: more than `largest` bytes; a file is refused before it is read.
    """
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise TooLarge(f"larger than {largest} bytes")
        content = bytearray()
        while part := file.read(min(PIECE, largest + 1 - len(content))):
            content += part
            if len(content) > largest:
                raise TooLarge(f"larger than {largest} bytes")
    return bytes(content)


def opened_zip(file: IO[bytes], largest_directory: int = PIECE) -> zipfile.ZipFile:
    """The zip archive in `file`, which stays the caller's to close.

    Its members are to be read in pieces of at most `largest_directory` bytes.

    Raises:
        TooLarge: its directory has more than `largest_directory` bytes. Python keeps about ten
            times as many for what lies in it.
        ValueError, OSError, zipfile.BadZipFile: it is damaged, or no zip file.
    """
    return zipfile.ZipFile(cast("IO[bytes]", _InPieces(file, largest_directory)))


class _InPieces:
    """A file that gives no more than `largest` bytes at once: zipfile reads a directory whole."""

    def __init__(self, file: IO[bytes], largest: int) -> None:
        self._file, self._largest = file, largest
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._largest + 1 if size < 0 else min(size, self._largest + 1))
        if len(data) > self._largest:
            raise TooLarge(f"its list of members is larger than {self._largest} bytes")
        return data


class Budget:
    """Work that reading a file may cost, in bytes looked at: in proportion to its size."""

    def __init__(self, size: int, *, per_byte: int, at_least: int) -> None:
        self.left = max(at_least, per_byte * size)

    def spend(self, work: int) -> None:
        """Count `work`. Raises TooMuchWork where none is left."""
        self.left -= work
        if self.left < 0:
            raise TooMuchWork("it asks for more work than any sound file of its size")
