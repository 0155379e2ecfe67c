"""Outputs as tests write them and look at them."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.runtime.files import write_beside

__all__ = ["file_limit", "names", "nobody", "refuse_links", "texts_of", "write_whole"]


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Make the kernel refuse files above `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def nobody() -> None:
    """Whom a lone writer meets."""


def write_whole(
    writing: Any, place: Path, force: bool, meet: Callable[[], object], text: object
) -> None:
    """Write an output; `meet` when it is whole and not yet in its place."""
    text = str(text)
    with writing(place, force) as temporary:
        if writing is write_beside:
            temporary.write_text(text)
        else:
            for number in range(3):
                (temporary / f"{number}").write_text(text)
            (temporary / "manifest.json").write_text(text)
        meet()


def texts_of(place: Path) -> set[str]:
    return {f.read_text() for f in (place.iterdir() if place.is_dir() else [place])}


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk without hard links, which FAT does not have."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
