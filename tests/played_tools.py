"""Tools for the workers of trials: light, since each worker imports them in its own process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

__all__ = ["open_nothing", "open_tool"]


def open_tool() -> Callable[[str], tuple[str, int]]:
    """A tool that does what its task says."""
    print("opened")
    return _play


def open_nothing() -> Callable[[str], str]:
    """A tool that is not installed."""
    raise RuntimeError("there is no such library")


def _play(task: str) -> tuple[str, int]:
    if task == "die":
        os._exit(7)
    if task == "fail":
        raise ValueError("not this one")
    if task == "hang":
        time.sleep(600)
    return task.upper(), os.getpid()
