"""One changed file, read: what must hold whatever is in it."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.targets import Target
from vidtok_edge.errors import VidTokEdgeError

__all__ = ["Attempt", "Broken", "peak_rss", "reset_peak_rss"]

LONGEST_S = 30.0
"""Of wall-clock time, on a machine that does other work too: no file here has a megabyte."""
MOST_BYTES = 768 << 20
"""Beyond what the process had: a frame of 8K takes most of it."""


class Broken(AssertionError):
    """A reader did what none may do."""


@dataclass(slots=True)
class Attempt:
    """Reads changed files of a target in a folder of its own."""

    target: Target
    folder: Path
    _path: Path = field(init=False)
    _files: set[Path] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.target.make(self.folder)
        self.target.read(self._path)  # what is sound is read
        self._files = set(self.folder.rglob("*"))

    @property
    def sound(self) -> bytes:
        """The file as it was made."""
        return self._path.read_bytes()

    @property
    def path(self) -> Path:
        """Of the file that is changed."""
        return self._path

    def read(self, content: bytes) -> None:
        """Raise Broken unless `content` is read or refused as it should be."""
        self._path.write_bytes(content)
        reset_peak_rss()
        before, began = peak_rss(), time.monotonic()
        try:
            self.target.read(self._path)
        except VidTokEdgeError as error:
            if not str(error).strip():
                raise Broken("an error without a word") from error
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {str(error)[:300]}") from error
        seconds = time.monotonic() - began
        if seconds > LONGEST_S:
            raise Broken(f"it took {seconds:.0f} s")
        if before and (took := peak_rss() - before) > MOST_BYTES:
            raise Broken(f"it took {took >> 20} MiB")
        if left := set(self.folder.rglob("*")) - self._files:
            raise Broken(f"it left {', '.join(sorted(path.name for path in left))}")


def peak_rss() -> int:
    """The most memory since the last reset, native memory too, in bytes; 0 where Linux is not."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("ascii"))
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


def reset_peak_rss() -> None:
    """So that `peak_rss` counts from here."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
