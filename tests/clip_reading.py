"""Clips read whole, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.errors import ClipError
from vidtok_edge.runtime.clips.clip_frame import ClipFrame, ClipReport
from vidtok_edge.runtime.clips.reading import ClipReader

__all__ = ["SIZE", "read", "refused"]

SIZE = (64, 96)


def read(path: Path, **arguments: Any) -> tuple[list[ClipFrame], ClipReport]:
    with ClipReader(path, size=arguments.pop("size", SIZE), **arguments) as clip:
        frames = list(clip)
    return frames, clip.report


def refused(path: Path, sentence: str, **arguments: Any) -> None:
    with pytest.raises(ClipError, match=sentence) as caught:
        read(path, **arguments)
    assert str(path) in str(caught.value)
