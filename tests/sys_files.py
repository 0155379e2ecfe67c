"""Files as Linux tells of a machine in them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["zone"]


def zone(root: Path, place: str, /, **files: object) -> None:
    folder = root / place
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_text(f"{content}\n")
