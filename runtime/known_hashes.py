"""SHA-256 of files that were hashed before and have not changed since: `known_sha256_of`.

What was seen is kept by a file's place, size and times. The time of its last change of status is
among them, which no tool can set back: a file whose bytes were changed in place is hashed again,
even where its modification time was restored.
"""

from __future__ import annotations

from pathlib import Path

from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime.remembered import Remembered

__all__ = ["known_sha256_of"]

_KNOWN = Remembered("XDG_CACHE_HOME", ".cache", "hashes.json")
_WORTH_KNOWING = 32 << 20  # bytes; smaller files are hashed in the time that looking up takes


def known_sha256_of(path: Path) -> str:
    """Of a file, in hex; hashed where it is not known. Raises OSError for the file alone."""
    status = path.stat()
    if status.st_size < _WORTH_KNOWING:
        return sha256_of(path)
    times = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = ":".join(map(str, (status.st_dev, status.st_ino, *times)))
    if len(known := _KNOWN.read().get(key, "")) == 64:
        return known
    found = sha256_of(path)
    after = path.stat()
    if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == times:
        _KNOWN.add(key, found)
    return found
