"""Small facts that outlive a process, as text by name, in a JSON file of the user's: `Remembered`.

What is read there was written by this user: whoever can write into it can change the user's other
files, too. It is bounded all the same, and anything that is not what we wrote counts as nothing.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.bounded import read_at_most
from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.runtime.files import write_beside

__all__ = ["Remembered"]

_MOST = 512  # facts
_LARGEST = 1 << 20  # bytes of the file that are read


@dataclass(frozen=True, slots=True)
class Remembered:
    """A file in the folder that an environment variable names, or in its default under home."""

    variable: str
    default: str
    name: str

    def read(self) -> dict[str, str]:
        """What is known; nothing where it cannot be read or is not what we wrote."""
        with suppress(OSError, ValueError, RuntimeError, RecursionError):
            plain = json.loads(read_at_most(self._place(), _LARGEST))
            if isinstance(plain, dict):
                return {k: v for k, v in plain.items() if isinstance(v, str)}
        return {}

    def add(self, name: str, fact: str) -> None:
        """Keep a fact, and the newest others; nothing happens where that cannot be written."""
        known = self.read()
        known.pop(name, None)
        known[name] = fact
        with suppress(OSError, RuntimeError, VidTokEdgeError):
            place = self._place()
            place.parent.mkdir(parents=True, exist_ok=True)
            with write_beside(place, force=True) as temporary:
                newest = dict(list(known.items())[-_MOST:])
                temporary.write_text(json.dumps(newest), encoding="utf-8")

    def _place(self) -> Path:
        home = os.environ.get(self.variable) or Path.home() / self.default
        return Path(home) / "vidtok-edge" / self.name
