"""Parquet files, one after another, none much larger than another: rows of latents in order."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency

try:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]
except ImportError:
    raise MissingDependency("pyarrow", "datasets", "A Parquet file") from None

__all__ = ["ROWS", "ParquetFiles", "arrow_of", "next_number"]

ROWS = 512
"""In memory at once, and of a row group."""


@dataclass(slots=True)
class ParquetFiles:
    """Files in a folder; a context manager, which closes the last.

    Args:
        name: of a file, by its number.
        number: of the first one.
    """

    folder: Path
    name: Callable[[int], str]
    number: int = 0
    _bytes: int = 0
    _writer: Any = None

    def write(self, table: pa.Table) -> None:
        """As a row group of its own."""
        if self._writer is None:
            path = self.folder / self.name(self.number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema, write_page_checksum=True)
        self._writer.write_table(table)
        self._bytes += table.nbytes

    def begin_another_if_larger(self, most: int) -> None:
        """Than `most` bytes, as they lie in memory."""
        if self._bytes >= most:
            self._close()
            self.number, self._bytes = self.number + 1, 0

    def __enter__(self) -> ParquetFiles:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def arrow_of(array: NDArray[Any]) -> Any:
    """[n] as numbers, [n, a, b] as lists of a lists of b, each of one length."""
    column = pa.array(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        assert len(column) == prod(array.shape[: axis + 1])
        column = pa.FixedSizeListArray.from_arrays(column, array.shape[axis])
    return column


def next_number(folder: Path, names: re.Pattern[str]) -> int:
    """Behind those of all files in a folder whose names fit; the last group is the number."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")]
    found = [match for path in paths if (match := names.fullmatch(path)) is not None]
    return 1 + max((int(match[match.lastindex or 0]) for match in found), default=-1)
