"""Bytes from standard input or a named pipe, waited for and never blocked on."""

from __future__ import annotations

import os
import select
import sys
import threading
from io import FileIO

from vidtok_edge.errors import SourceError

__all__ = ["Pipe"]

_LOOK_UP_S = 0.1  # how long a silent pipe may hold back who closes it


class Pipe:
    """Read by one thread; a pipe that is silent is waited for.

    Args:
        spec: `-` for standard input, or the path of a pipe or file.
        closed: ends the wait.

    Attributes:
        name: for messages.
        given: how many bytes were read from here.

    Raises SourceError: it cannot be opened, or, later, read.
    """

    def __init__(self, spec: str, closed: threading.Event) -> None:
        self.name = "standard input" if spec == "-" else spec
        self.given = 0
        self._closed = closed
        self._peeked = b""
        self._file = _opened(spec)

    @property
    def closed(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._closed.is_set()

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay unread; fewer at the end, or when closed."""
        space = bytearray(size)
        self._peeked = bytes(space[: self.fill(memoryview(space))])
        self.given -= len(self._peeked)
        return self._peeked

    def fill(self, space: memoryview) -> int:
        """Read until `space` is full: how many bytes; fewer at the end, or when closed."""
        filled = 0
        while filled < len(space) and (got := self._some(space[filled:])):
            filled += got
        return filled

    def read(self, size: int) -> bytes:
        """What is there, of `size` bytes at most; none at the end, or when closed."""
        space = bytearray(size)
        return bytes(space[: self._some(memoryview(space))])

    def close(self) -> None:
        """Standard input stays open for others."""
        self._file.close()

    def _some(self, space: memoryview) -> int:
        """Wait until something comes and read it into `space`: how many bytes, 0 at the end."""
        if self._peeked:
            given, self._peeked = self._peeked[: len(space)], self._peeked[len(space) :]
            space[: len(given)] = given
            self.given += len(given)
            return len(given)
        try:
            while not self._closed.is_set():
                if select.select([self._file], [], [], _LOOK_UP_S)[0]:
                    got = self._file.readinto(space)
                    if got is not None:
                        self.given += got
                        return got
            return 0
        except OSError as error:
            raise SourceError(f"{self.name} cannot be read: {error.strerror}.") from error


def _opened(spec: str) -> FileIO:
    if spec != "-":
        try:
            # Without O_NONBLOCK opening a pipe that nobody writes to yet would wait for ever.
            return FileIO(os.open(spec, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:
            raise SourceError(f"{spec} cannot be opened: {error.strerror}.") from error
    try:
        number = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        raise SourceError("There is no standard input. Pipe raw RGB frames into it.") from None
    if os.isatty(number):
        raise SourceError(
            "Standard input is a terminal. Pipe raw RGB frames into it, as in: "
            "ffmpeg -i CLIP -f rawvideo -pix_fmt rgb24 - | vidtok-edge record - ..."
        )
    return FileIO(number, closefd=False)
