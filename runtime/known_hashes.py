"""SHA-256 of files that were hashed before and have not changed since: `known_sha256_of`.

What was seen is kept in a file of the user's cache, by a file's place, size and times. The time of
its last change of status is among them, which no tool can set back: a file whose bytes were changed
in place is hashed again, even where its modification time was restored. Whoever can write into that
cache can write into the user's bundles, too.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime.files import write_beside

__all__ = ["known_sha256_of"]

_WORTH_KNOWING = 32 << 20  # bytes; smaller files are hashed in the time that looking up takes
_MOST = 512  # files that are known
_LARGEST = 1 << 20  # bytes of the cache that are read


def known_sha256_of(path: Path) -> str:
    """Of a file, in hex; hashed where it is not known. Raises OSError for the file alone."""
    status = path.stat()
    if status.st_size < _WORTH_KNOWING:
        return sha256_of(path)
    times = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = ":".join(map(str, (status.st_dev, status.st_ino, *times)))
    known = _read()
    if key not in known:
        known[key] = sha256_of(path)
        after = path.stat()
        if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == times:
            _write(known)
    return known[key]


def _place() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "vidtok-edge" / "hashes.json"


def _read() -> dict[str, str]:
    """What is known; nothing where it cannot be read or is not what we wrote."""
    with suppress(OSError, ValueError, RuntimeError, RecursionError):
        place = _place()
        if place.stat().st_size <= _LARGEST:
            plain = json.loads(place.read_text("utf-8"))
            if isinstance(plain, dict):
                return {k: v for k, v in plain.items() if isinstance(v, str) and len(v) == 64}
    return {}


def _write(known: dict[str, str]) -> None:
    """Keep it; a cache that cannot be written costs time alone."""
    with suppress(OSError, RuntimeError, VidTokEdgeError):
        place = _place()
        place.parent.mkdir(parents=True, exist_ok=True)
        with write_beside(place, force=True) as temporary:
            newest = dict(list(known.items())[-_MOST:])
            temporary.write_text(json.dumps(newest), encoding="utf-8")
