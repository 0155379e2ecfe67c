"""Names that stand in files and are chosen from a list."""

from __future__ import annotations

from enum import Enum

__all__ = ["Name"]


class Name(str, Enum):
    """An enum whose members are their values: in files, in messages, in comparisons with text."""

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)
