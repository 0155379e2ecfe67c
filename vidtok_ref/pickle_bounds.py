"""What a file of `torch.save` may cost: torch's unpickler runs no code, but it has no limits."""

from __future__ import annotations

import re
import zipfile
from typing import IO

from vidtok_edge.bounded import PIECE, TooLarge, TooMuchWork, opened_zip

__all__ = ["ZIP", "FewReads", "check_pickle", "check_zip"]

ZIP = b"PK\x03\x04"
"""How files since torch 1.6 begin."""
LARGEST_PICKLE = 4 << 20
"""Bytes beside the tensors; a model of 288 keys takes 40,000, its training state three times as
many."""
MOST_READS = 4_000_000  # torch's unpickler reads byte by byte, a million in a second
# Calls that torch allows, and that make gigabytes of a few bytes: bytearray(6 << 30), and
# encode(x, 'hex'), again and again.
_GROWING = re.compile(rb"c(?:__builtin__|builtins)\nbytearray\n|c_codecs\nencode\n")
_LONGEST_MATCH = 32


def check_zip(file: IO[bytes]) -> None:
    """Hold a file since torch 1.6 to what it stores; torch unpacks whatever is compressed.

    Raises ValueError: compressed, too much beside the tensors, or calls that take any memory.
    """
    with opened_zip(file, LARGEST_PICKLE) as archive:
        for member in archive.infolist():
            name = member.filename[:100]
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed, which torch.save never does")
            if name.endswith(".pkl"):
                if member.file_size > LARGEST_PICKLE:
                    raise TooLarge(f"{name} is larger than {LARGEST_PICKLE} bytes")
                with archive.open(member) as pickle:
                    check_pickle(pickle)


def check_pickle(file: IO[bytes]) -> None:
    """Refuse, with ValueError, calls that take any memory, from here to the end of `file`."""
    before = b""
    while part := file.read(PIECE):
        if _GROWING.search(before + part):
            raise ValueError(
                "it holds bytes beside its tensors, which may claim any memory; if you trust who "
                "made it, `vidtok-edge convert` keeps its tensors alone"
            )
        before = part[-_LONGEST_MATCH:]


class FewReads:
    """A file from before torch 1.6, of which nobody can tell where its pickles end.

    Raises TooMuchWork after more reads than the pickle of a sound file takes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self._file, self._left = file, MOST_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As that of the file."""
        self._count()
        return self._file.read(size)

    def readline(self) -> bytes:
        """As that of the file."""
        self._count()
        return self._file.readline()

    def readinto(self, target: memoryview) -> int:
        """As that of the file."""
        self._count()
        return self._file.readinto(target)  # type: ignore[attr-defined, no-any-return]

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooMuchWork(f"its pickle has more than {MOST_READS} parts")
