"""Readers of pictures, clips and pipes of frames."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from fuzz.target import Target

__all__ = ["picture_targets"]

MOST_FRAMES = 40


def picture_targets() -> Sequence[Target]:
    """For pictures, clips, and frames from a pipe."""
    found = [
        Target(name=f"picture.{suffix}", make=partial(_picture, suffix), read=_read_pictures)
        for suffix in ("png", "jpg", "bmp", "tiff", "webp", "ppm")
    ]
    found += [
        Target(name=f"clip.{suffix}", make=partial(_clip, suffix), read=_read_clip)
        for suffix in ("mp4", "mkv", "avi", "ts")
    ]
    found.append(Target(name="pipe.y4m", make=_y4m, read=_read_pipe))
    return [replace(target, needs=("av", "PIL")) for target in found]


def _picture(suffix: str, folder: Path) -> Path:
    from PIL import Image

    path = folder / f"a.{suffix}"
    pixels = np.arange(32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3)
    Image.fromarray(pixels).save(path)
    return path


def _read_pictures(path: Path) -> None:
    from vidtok_edge.runtime.sources.image_folder import ImageFolderSource

    with (
        warnings.catch_warnings(),
        closing(ImageFolderSource(str(path.parent), (16, 16), fps=10)) as source,
    ):
        warnings.simplefilter("ignore")  # Pillow tells of damaged tags and of large pictures so
        for _ in source:
            pass


def _clip(suffix: str, folder: Path) -> Path:
    from clips import make_clip

    return make_clip(folder / f"a.{suffix}", 6)


def _read_clip(path: Path) -> None:
    from vidtok_edge.runtime.clips.reading import ClipReader

    with ClipReader(path, size=(16, 16), rate="every-frame") as reader:
        for _ in islice(reader, MOST_FRAMES):
            pass


def _y4m(folder: Path) -> Path:
    """Three frames of 16x16, subsampled: 384 bytes each."""
    frames = b"".join(b"FRAME\n" + bytes([n]) * 384 for n in range(3))
    path = folder / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16 F30:1 Ip A1:1 C420jpeg\n" + frames)
    return path


def _read_pipe(path: Path) -> None:
    from vidtok_edge.runtime.sources.raw_pipe import RawPipeSource

    with closing(RawPipeSource(str(path), (16, 16))) as source:
        for _ in islice(source, MOST_FRAMES):
            pass
