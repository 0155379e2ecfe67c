"""A reader of files that others made, and what is changed for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fuzz.mutations import Mutation, of_bytes

__all__ = ["HERE", "Target"]

HERE = Path(__file__).resolve().parents[1]
"""The folder of the tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reader, and what is changed for it."""

    name: str
    make: Callable[[Path], Path]
    """Writes into an empty folder what is needed, and gives the file that is changed."""
    read: Callable[[Path], object]
    mutation: Mutation = of_bytes
    needs: tuple[str, ...] = ()
    """Packages without which it is left out."""

    @property
    def here(self) -> bool:
        """Whether its packages are installed."""
        return all(find_spec(name) for name in self.needs)
