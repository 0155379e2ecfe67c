"""How long work tells of its progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

__all__ = ["Stage", "no_stage"]

Stage = Callable[[str, Path | None], AbstractContextManager[None]]
"""Brackets one stage of long work: its name, and the file or folder that it writes."""


def no_stage(name: str, path: Path | None) -> AbstractContextManager[None]:
    """The `Stage` of a caller who wants no progress."""
    return nullcontext()
