"""How long work tells of its progress."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

__all__ = ["Bar", "Progress", "Stage", "no_bar", "no_progress", "no_stage", "one_by_one"]

Progress = Callable[[int, int | None], None]
"""Told how many things are done, and of how many; None where nobody knows."""

Bar = Callable[[str], AbstractContextManager[Progress]]
"""Opens a progress bar with a label."""

Stage = Callable[[str, Path | None], AbstractContextManager[None]]
"""Brackets one stage of long work: its name, and the file or folder that it writes."""


def no_progress(done: int, total: int | None) -> None:
    """The `Progress` of a caller who wants none."""


def one_by_one(progress: Progress, total: int) -> Callable[[], None]:
    """To be called after each of `total` things: tells `progress` how many are done."""
    done = itertools.count(1)
    return lambda: progress(next(done), total)


@contextmanager
def no_bar(label: str) -> Iterator[Progress]:
    """The `Bar` of a caller who wants none."""
    yield no_progress


def no_stage(name: str, path: Path | None) -> AbstractContextManager[None]:
    """The `Stage` of a caller who wants none."""
    return nullcontext()
