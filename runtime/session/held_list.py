"""The list of a recording in parts, which one session has for itself."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from vidtok_edge.errors import OutputExists, RecordingBusy
from vidtok_edge.runtime.files import write_beside

__all__ = ["HeldList"]

_NONE, _CLOSED = -1, -2


class HeldList:
    """A file that is replaced as a whole, and locked (`flock`) from one version to the next.

    While no part is being written, as between events or when every camera is away, nothing but
    this says that a session is there: another one would write its own list over this one's. Where
    there is no list yet, on Linux a name that dies with the process stands for it.

    Raises RecordingBusy: another session holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = _NONE
        self._name = _named(path)
        while (fd := _opened(path)) >= 0:
            try:
                _lock(fd, path)
                if _is_at(fd, path):  # else it was replaced before it was locked
                    break
            except BaseException:
                os.close(fd)
                self.close()
                raise
            os.close(fd)
        self._fd = fd

    def write(self, content: str) -> None:
        """Replace it, or make it.

        Raises:
            RecordingBusy: another session made one meanwhile.
            OutputNotWritable: as `write_beside`.
        """
        fd = -1
        try:
            with write_beside(self._path, force=self._fd != _NONE) as temporary:
                temporary.write_text(content, encoding="utf-8")
                fd = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
                _lock(fd, self._path)
        except BaseException as error:
            if fd >= 0:
                os.close(fd)
            if isinstance(error, OutputExists):
                raise _busy(self._path) from None
            raise
        self._let_go()
        self._fd = fd

    def close(self) -> None:
        """Let others have it."""
        self._let_go()
        if self._name is not None:
            self._name.close()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = _NONE

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            self.close()


def _named(path: Path) -> socket.socket | None:
    """What is bound to a name of its own for a list, in no folder. RecordingBusy: another is."""
    if sys.platform != "linux":
        return None
    real = os.path.realpath(path)
    try:
        folder = os.stat(os.path.dirname(real))
    except OSError:  # told where the list is written
        return None
    # Not the path: containers may see another disk there, or this one elsewhere.
    place = f"{folder.st_dev}:{folder.st_ino}:".encode() + os.fsencode(os.path.basename(real))
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        found.bind(f"\0vidtok-edge/{hashlib.sha256(place).hexdigest()}")
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise _busy(path) from None
        return None  # a lock of the list is left, from its first part on
    return found


def _opened(path: Path) -> int:
    """A descriptor; _NONE: it is not there; _CLOSED: it cannot be opened, and so not locked."""
    for mode in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(path, mode | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return _NONE
        except OSError:
            continue
    return _CLOSED


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(path) from None
    except OSError:
        return  # a disk without locks, which is told of the first part


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _busy(path: Path) -> RecordingBusy:
    return RecordingBusy(
        f"{path} is the list of another session that is recording. Stop that one first, or name "
        "another file."
    )
