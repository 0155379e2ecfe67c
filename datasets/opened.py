"""Files that are open, the last few of many; every process has its own."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

from vidtok_edge.errors import DatasetError

__all__ = ["Opened", "binary"]

_MOST = 8


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


def binary(path: Path) -> BinaryIO:
    """The bytes of a file."""
    return path.open("rb")


class Opened(Generic[T]):
    """Opens files where they are asked for, and keeps the last few open.

    A process that was forked shares the places in the files of the one it came from, so it opens
    its own. A file that changed since it was opened first is refused: what is known of it would
    say something else.

    Args:
        opener: opens a path, and raises what its users may see.
    """

    def __init__(self, opener: Callable[[Path], T]) -> None:
        self._opener = opener
        self._stamps: dict[Path, tuple[int, ...]] = {}
        self._files: OrderedDict[Path, T] = OrderedDict()
        self._process = os.getpid()

    def __call__(self, path: Path) -> T:
        """The open file. DatasetError: it is gone, or not the one that was opened first."""
        if self._process != os.getpid():
            self.close()  # this process's ends of them
            self._process = os.getpid()
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        try:
            found = self._opener(path)
        except OSError as error:
            raise DatasetError(
                f"{path} cannot be read: {error.strerror or error}. Copy the set again, whole."
            ) from None
        try:
            self.require_unchanged(path)
        except BaseException:
            found.close()
            raise
        self._files[path] = found
        while len(self._files) > _MOST:
            self._files.popitem(last=False)[1].close()
        return found

    def close(self) -> None:
        """Close all."""
        while self._files:
            self._files.popitem()[1].close()

    def require_unchanged(self, path: Path) -> None:
        """Raise DatasetError unless a file is as it was when it was first opened or asked about."""
        try:
            found = path.stat()
        except OSError as error:
            raise DatasetError(
                f"{path} cannot be read: {error.strerror}. Copy the set again, whole."
            ) from None
        stamp = found.st_size, found.st_mtime_ns
        if self._stamps.setdefault(path, stamp) != stamp:
            raise DatasetError(
                f"{path} has changed since the dataset was opened. Open the dataset again; a "
                "recording that is still being recorded to is read when it has ended."
            )

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict()}
