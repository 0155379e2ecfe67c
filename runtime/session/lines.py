"""Bytes to lines that are no longer than allowed."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Lines"]


class Lines:
    """Bytes to lines without the spaces around them; empty ones are left out.

    Args:
        longest: bytes of a line; one that is longer is None, once, and skipped to its end.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._held = bytearray()
        self._skipping = False

    def of(self, piece: bytes) -> Iterator[bytes | None]:
        """The lines that `piece` ends; an empty piece ends what is held."""
        self._held += piece
        while (end := self._held.find(b"\n")) >= 0:
            line = bytes(self._held[:end]).strip()
            del self._held[: end + 1]
            if self._skipping:
                self._skipping = False
            elif len(line) > self._longest:
                yield None
            elif line:
                yield line
        if len(self._held) > self._longest:
            self._held.clear()
            if not self._skipping:
                self._skipping = True
                yield None
        if not piece and self._held:
            line = bytes(self._held).strip()
            self._held.clear()
            if line and not self._skipping:
                yield line
