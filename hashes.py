"""SHA-256 of files, bytes and tensors, in hex."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["sha256_of", "sha256_of_parts"]


def sha256_of(path: Path) -> str:
    """Of a file. Raises OSError."""
    return sha256_of_parts(_blocks(path))


def sha256_of_parts(parts: Iterable[bytes | memoryview]) -> str:
    """Of bytes that follow each other; a part may be the memory of an array, in C order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block
