"""Where the files of a LeRobot dataset lie: in folders of a thousand, numbered through."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["DATA_PATH", "FILES_PER_CHUNK", "VIDEO_PATH", "name_of", "next_place", "place_of"]

FILES_PER_CHUNK = 1000
_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{_PLACE}.parquet"
"""As `meta/info.json` says it."""
VIDEO_PATH = f"videos/{{video_key}}/{_PLACE}.mp4"
"""As `meta/info.json` says it."""
_NAMES = re.compile(r"chunk-(\d{3,6})/file-(\d{3,6})", re.ASCII)


def place_of(number: int) -> dict[str, int]:
    """The indices of a file."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return {"chunk_index": chunk, "file_index": file}


def name_of(number: int, suffix: str) -> str:
    """Of a file, in the folder of its kind."""
    return _PLACE.format(**place_of(number)) + suffix


def next_place(folder: Path, suffix: str) -> int:
    """The number of a file behind all that are in a folder."""
    paths = [path.relative_to(folder).with_suffix("") for path in folder.rglob(f"*{suffix}")]
    found = [match for path in paths if (match := _NAMES.fullmatch(path.as_posix())) is not None]
    places = (int(match[1]) * FILES_PER_CHUNK + int(match[2]) for match in found)
    return 1 + max(places, default=-1)
