"""Clips and pictures from files and into files, with PyAV and Pillow, or OpenCV where it is alone.

A machine that is lent for training may have one of them and no network.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pixels", "UnreadableFile", "read_clip", "read_picture", "write_png"]

Pixels = NDArray[np.uint8]

_HAS_AV = find_spec("av") is not None
_HAS_PILLOW = find_spec("PIL") is not None


class UnreadableFile(Exception):
    """A file that is missing, damaged, or holds no pictures."""


def read_clip(path: Path, most: int | None = None) -> Pixels:
    """uint8 [T, H, W, 3], RGB: the frames of the first video, or the first `most` of them.

    Raises:
        UnreadableFile: no such file, a damaged one, or one whose frames change their size.
    """
    if not path.is_file():
        raise UnreadableFile(f"{path} is missing.")
    try:
        frames = _frames_av(path, most) if _HAS_AV else _frames_cv2(path, most)
        if frames:
            return np.stack(frames)
    except (OSError, ValueError) as error:  # PyAV's errors are both
        raise UnreadableFile(f"{path} cannot be read: {error}.") from error
    raise UnreadableFile(f"{path} holds no frames.")


def _frames_av(path: Path, most: int | None) -> list[Pixels]:
    import av

    frames: list[Any] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if most is not None and len(frames) >= most:
                break
            frames.append(frame.to_ndarray(format="rgb24"))
    return frames


def _frames_cv2(path: Path, most: int | None) -> list[Pixels]:
    cv2: Any = importlib.import_module("cv2")
    frames: list[Pixels] = []
    capture = cv2.VideoCapture(str(path))
    try:
        while most is None or len(frames) < most:
            good, frame = capture.read()
            if not good:
                break
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    finally:
        capture.release()
    return frames


def read_picture(path: Path) -> Pixels:
    """uint8 [H, W, 3], RGB.

    Raises:
        UnreadableFile: no such file, or a damaged one.
    """
    if not path.is_file():
        raise UnreadableFile(f"{path} is missing.")
    if not _HAS_PILLOW:
        cv2: Any = importlib.import_module("cv2")
        found = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if found is None:
            raise UnreadableFile(f"{path} cannot be read.")
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableFile(f"{path} cannot be read: {error}.") from error


def write_png(path: Path, picture: Pixels) -> None:
    """Write uint8 [H, W, 3], RGB. Raises OSError."""
    if _HAS_PILLOW:
        from PIL import Image

        Image.fromarray(picture).save(path, format="png")
        return
    cv2: Any = importlib.import_module("cv2")
    _, encoded = cv2.imencode(".png", picture[..., ::-1])
    path.write_bytes(encoded.tobytes())
