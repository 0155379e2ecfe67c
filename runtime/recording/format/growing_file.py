"""A file that grows while it is written: locked, and whole up to the last flush."""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from vidtok_edge.errors import (
    MissingFromEnvironment,
    OutputExists,
    OutputNotWritable,
    RecordingBusy,
    UsageError,
)

try:
    import fcntl
except ImportError:
    raise MissingFromEnvironment(
        "Recording needs file locks of Linux or macOS, which this system lacks. Record there."
    ) from None

__all__ = ["GrowingFile", "is_growing", "require_unlocked"]

_NO_FSYNC = {errno.EINVAL, errno.ENOTSUP}  # some network and FUSE file systems


class GrowingFile:
    """Collects what is written in memory, and puts it into the file in `flush`, all or nothing.

    What was flushed is the system's: a kill of this process loses none of it. A thread makes the
    disk have it as well, because an SD card can take longer for that than a camera for a frame. The
    file stays locked until `close`. What the library for MCAP asks of a stream is here:
    `write`, `tell` and `flush`.

    Raises:
        RecordingBusy: another process, or another GrowingFile, holds the file; also with `force`.
        OutputExists: it is there and `force` is not set.
        UsageError: it is a folder, a device or a pipe.
        OutputNotWritable: it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], force: bool = False) -> None:
        self.path = Path(path)
        self.safe_bytes = 0
        """Length of the file up to the last flush."""
        self.head_bytes = 0
        """Of these, what says nothing yet: a file that has no more when its disk is full goes."""
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._fd = _locked(self.path, force)
        self._disk = _Disk(self._fd, self.path)
        with suppress(OSError):  # the name of the file, should the power fail
            folder = os.open(self.path.resolve().parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @property
    def waiting_bytes(self) -> int:
        """What is not on disk yet."""
        return self._waiting_bytes

    def write(self, data: bytes) -> int:
        """Take `data`; it is on disk after `flush`."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """Where the next byte will lie."""
        return self.safe_bytes + self._waiting_bytes

    def flush(self) -> None:
        """Write what waits.

        OutputNotWritable: it could not be, and the file is as before; or the disk did not take what
        was flushed before.
        """
        data = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._waiting_bytes = 0
        self._disk.raise_failure()
        try:
            if os.fstat(self._fd).st_nlink == 0:
                raise OutputNotWritable(
                    f"{self.path} was removed while it was written, or its folder was. Nothing of "
                    "it is safe. Record to a folder that stays."
                )
            if data:
                self._append(data)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self.safe_bytes)
            kept = self.safe_bytes > self.head_bytes
            raise OutputNotWritable(
                f"{self.path} cannot be written any further: {os.strerror(error.errno or 0)}. "
                f"Its first {self.safe_bytes} bytes are safe. Free some space, or choose another "
                "disk, and record to another file."
                if kept
                else f"{self.path} cannot be written: {os.strerror(error.errno or 0)}. Nothing was "
                "recorded, and it is not kept. Free some space, or choose another disk."
            ) from error
        self.safe_bytes += len(data)
        if data:
            self._disk.ask()

    def close(self) -> None:
        """Wait until the disk has what was flushed, and unlock the file; the rest is dropped.

        OutputNotWritable: the disk did not take it; the file is unlocked all the same.
        """
        if self._fd >= 0:
            self._disk.close()
            os.close(self._fd)
            self._fd = -1
            self._disk.raise_failure()

    def remove(self) -> None:
        """Take the file away, unless another one has its name; before `close`."""
        if self._fd >= 0:
            _remove(self.path, self._fd)

    def _append(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._fd, data[done:], self.safe_bytes + done)


class _Disk:
    """Lets the disk catch up with a file, in a thread."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self._path = fd, path
        self._asked = threading.Event()
        self._closing = False
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._work, name="disk", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Synchronise what was written up to now, soon."""
        self._asked.set()

    def raise_failure(self) -> None:
        """Raise OutputNotWritable, once, if anything went wrong in the thread."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise OutputNotWritable(
                f"The disk did not take {self._path}: {os.strerror(failure.errno or 0)}. What was "
                "written last may be lost. Look at the disk, recover what is there, and record to "
                "another one."
            ) from failure

    def close(self) -> None:
        """Synchronise a last time, and wait for it."""
        self._closing = True
        self._asked.set()
        self._thread.join()

    def _work(self) -> None:
        closing = False
        while not closing:
            self._asked.wait()
            closing = self._closing  # before the last synchronising
            self._asked.clear()
            try:
                os.fsync(self._fd)
            except OSError as error:
                if error.errno not in _NO_FSYNC:
                    self._failure = error


def require_unlocked(path: str | os.PathLike[str]) -> None:
    """Raise RecordingBusy where a file is there and a `GrowingFile` holds it."""
    if is_growing(path):
        raise _busy(Path(path))


def is_growing(path: str | os.PathLike[str]) -> bool:
    """Whether a file is there and a `GrowingFile` holds it."""
    with suppress(OSError):  # others say better what is wrong with the place
        if not Path(path).is_file():
            return False
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def _busy(path: Path) -> RecordingBusy:
    return RecordingBusy(
        f"{path} is being recorded to by another process. Stop that one first, or name "
        "another file."
    )


def _locked(path: Path, force: bool) -> int:
    """A descriptor of the file, new or emptied, that holds the lock."""
    try:
        place = os.path.realpath(path)  # a link may lead to where no file is yet
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        new = True
    except FileExistsError:
        fd, new = _existing(path), False
    except OSError as error:
        raise _not_writable(path, error) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(path) from None
        except OSError as error:
            if new:
                _remove(path, fd)
            raise _not_writable(path, error) from error
        if not new and not force:
            raise OutputExists(path)
        os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove(path: Path, fd: int) -> None:
    """Take the file away; a link that leads to it stays."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            os.unlink(os.path.realpath(path))


def _existing(path: Path) -> int:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
            raise UsageError(f"{path} is {what}; a recording is a regular file. Name another.")
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> OutputNotWritable:
    return OutputNotWritable(
        f"{path} cannot be written: {os.strerror(error.errno or 0)}. Choose a folder that exists, "
        "may be written and supports locks."
    )
