"""Tables and numbered sections of the documents, for tests that hold them to the code."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["ROOT", "Row", "both_of", "sections_of", "table_in"]

ROOT = Path(__file__).resolve().parents[1]
_HEADING = re.compile(r"^#{2,} (\d+(?:\.\d+)*)\.? ", re.MULTILINE)

Row = dict[str, str]


def sections_of(document: str) -> dict[str, str]:
    """The text below each numbered heading, by its number, up to the next one."""
    parts = _HEADING.split((ROOT / document).read_text(encoding="utf-8"))
    numbers, texts = parts[1::2], parts[2::2]
    assert len(set(numbers)) == len(numbers), f"{document} gives a number to two sections"
    return dict(zip(numbers, texts, strict=True))


def table_in(document: str, section: str) -> list[Row]:
    """The rows of the one table of a section, cells without backticks by their column's title.

    Nothing where the documents are missing, as in a source distribution.
    """
    if not (ROOT / document).exists():
        return []
    lines = re.findall(r"^\| (.*) \|$", sections_of(document)[section], flags=re.MULTILINE)
    titles, *rows = [[c.strip().replace("`", "") for c in re.split(r" \|", x)] for x in lines]
    return [dict(zip(titles, row, strict=True)) for row in rows]


def both_of(cell: str) -> tuple[int, int]:
    """The numbers of a cell, encoder / decoder.

    >>> both_of("24 / 32")
    (24, 32)
    """
    encoder, decoder = cell.split(" / ")
    return int(encoder), int(decoder)
