"""Runs of sets with a row for each latent: LeRobot datasets and folders of Parquet files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.datasets.opened import Opened
from vidtok_edge.datasets.reading.row_layout import RowLayout, lerobot_layout, parquet_layout
from vidtok_edge.datasets.run import Rows, Run
from vidtok_edge.errors import DatasetError, MissingDependency
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.existing import CONTENTS, INFO, source_name
from vidtok_edge.runtime.recording.exports.set_document import Document

try:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]
except ImportError:
    raise MissingDependency("pyarrow", "datasets", "A set of Parquet files") from None

__all__ = ["RowStore"]

_BATCH = 512  # rows in memory at once while the columns of an hour are read
_BUFFER = 1 << 20  # bytes
_ROWS_AT_LEAST = 1 << 20  # that a file may have, whatever its size


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one file."""

    begin: int
    """In the run, or among all rows."""
    file: Path
    first: int
    """Row of the file."""
    count: int


@dataclass(frozen=True, slots=True)
class _Place:
    layout: RowLayout
    pieces: Sequence[_Piece]


@dataclass(slots=True, kw_only=True)
class RowStore:
    """A folder of Parquet files in the order of their names."""

    path: Path
    source: int | None
    request: DataRequest | None
    block: int = 256
    _opened: Opened[Any] = field(default_factory=lambda: Opened(_open))

    def runs(self) -> Iterator[Run]:
        """As `Store.runs`."""
        files = _files(self.path)
        lerobot = (self.path / INFO).exists()
        layout = lerobot_layout(self.path, self.request) if lerobot else None
        if layout is None:
            for file in files:
                own = parquet_layout(self.path, self._metadata(file), self.request)
                layout = layout or own
                own.facts.require_same(layout.facts, file, files[0])
        assert layout is not None
        rows, walls_ns, pieces = self._rows(files, layout)
        told = self.path / "meta" / CONTENTS if lerobot else self.path / CONTENTS
        document = Document.load(told) if told.is_file() else Document(str(told), {})
        whole = self.request is None or self.request.missing == "split"
        for first, end in rows.runs(source=self.source, whole=whole):
            own_pieces = []
            for piece in pieces:
                begin, stop = max(first, piece.begin), min(end, piece.begin + piece.count)
                if begin < stop:
                    row = piece.first + begin - piece.begin
                    own_pieces.append(_Piece(begin - first, piece.file, row, stop - begin))
            yield Run(
                store=self,
                facts=layout.facts,
                place=_Place(layout, own_pieces),
                recording=source_name(document, int(rows.episode[first]), int(rows.source[first])),
                length=end - first,
                wall_time_ns=int(walls_ns[first]),
                data={name: values[first:end] for name, values in rows.data.items()},
            )

    def _metadata(self, file: Path) -> dict[bytes, bytes] | None:
        with _damage_told(file):
            found: dict[bytes, bytes] | None = self._opened(file).schema_arrow.metadata
        return found

    def _rows(
        self, files: Sequence[Path], layout: RowLayout
    ) -> tuple[Rows, NDArray[np.int64], list[_Piece]]:
        """The rows, their wall clock times, and where they lie."""
        numbers = ("episode_index", layout.source, "stream", "latent_index")
        happened = ("frames_dropped_before", "latents_missing_before", "begins")
        names = [*numbers, *happened, layout.wall_time, *layout.channels.values()]
        with _damage_told(files[0]):
            if "every" in self._opened(files[0]).schema_arrow.names:  # not of earlier versions
                names.append("every")
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        pieces, begin = [], 0
        for file in files:
            with _damage_told(file):
                count = 0
                for batch in self._batches(file, names, None):
                    for name in names:
                        parts[name].append(self._column(file, batch, name, layout))
                    count += batch.num_rows
            pieces.append(_Piece(begin, file, 0, count))
            begin += count
        joined = {name: np.concatenate(found) for name, found in parts.items() if found}
        if not joined:
            raise DatasetError(f"{self.path} holds no latent. Export it again.")
        interrupted = joined["begins"] != layout.nothing
        for name in happened[:2]:
            interrupted |= joined[name] > 0
        episode, source, stream, index = (joined[name].astype(np.int64) for name in numbers)
        data = {name: joined[column] for name, column in layout.channels.items()}
        every = joined.get("every", np.ones(len(index), np.int64))
        rows = Rows(
            slow=every != 1,
            episode=episode,
            source=source,
            stream=stream,
            index=index,
            interrupted=interrupted,
            data=data,
        )
        return rows, joined[layout.wall_time], pieces

    def _batches(self, file: Path, names: Sequence[str], groups: Sequence[int] | None) -> Any:
        opened = self._opened(file)
        rows, size = opened.metadata.num_rows, file.stat().st_size
        if rows > max(_ROWS_AT_LEAST, size):
            raise DatasetError(f"{file} claims {rows} rows in {size} bytes. Copy it again.")
        own = {} if groups is None else {"row_groups": list(groups)}
        return opened.iter_batches(batch_size=_BATCH, columns=list(names), use_threads=False, **own)

    def _column(self, file: Path, batch: Any, name: str, layout: RowLayout) -> NDArray[Any]:
        column = batch.column(batch.schema.get_field_index(name))
        if column.null_count:
            raise DatasetError(f"{file} lacks values of {name}. Export it again.")
        if name == "begins" and pa.types.is_string(column.type):
            return np.array(column.to_pylist(), object)
        sizes = {own: layout.facts.channels[channel] for channel, own in layout.channels.items()}
        if name in sizes:
            return _flat(file, name, column, (sizes[name],)).astype(np.float32)
        found = _flat(file, name, column, ())
        if found.dtype.kind not in "iu":
            raise DatasetError(f"{file} has {name} as {found.dtype}. Export it again.")
        return found

    def read(self, place: _Place, first: int, count: int) -> NDArray[Any]:
        """As `Store.read`."""
        layout, end = place.layout, first + count
        parts = []
        for piece in place.pieces:
            begin, stop = max(first, piece.begin), min(end, piece.begin + piece.count)
            if begin < stop:
                row = piece.first + begin - piece.begin
                with _damage_told(piece.file):
                    parts += self._values(piece.file, layout, row, row + stop - begin)
        return np.concatenate(parts)

    def _values(self, file: Path, layout: RowLayout, first: int, end: int) -> list[NDArray[Any]]:
        """The latents of some rows of a file."""
        groups: list[int] = []
        begin = before = 0
        metadata = self._opened(file).metadata
        for number in range(metadata.num_row_groups):
            stop = begin + metadata.row_group(number).num_rows
            if begin < end and first < stop:
                before = begin if not groups else before
                groups.append(number)
            begin = stop
        parts, at = [], before
        for batch in self._batches(file, [layout.values], groups):
            begin, stop = max(first, at), min(end, at + batch.num_rows)
            if begin < stop:
                rows = batch.column(0).slice(begin - at, stop - begin)
                parts.append(_flat(file, layout.values, rows, layout.facts.tokenizer.shape))
            at += batch.num_rows
            if at >= end:
                break
        if not parts:
            raise DatasetError(f"{file} is cut off. Copy it again.")
        return parts

    def close(self) -> None:
        """As `Store.close`."""
        self._opened.close()


def _open(path: Path) -> Any:
    with _damage_told(path):
        return pq.ParquetFile(path, buffer_size=_BUFFER, page_checksum_verification=True)


def _flat(file: Path, name: str, column: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """[n, *shape] of a column of numbers, or of lists that hold as many, in whatever depth."""
    rows = len(column)
    while pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
        column = column.flatten()
    if len(column) != rows * prod(shape) or column.null_count:
        raise DatasetError(
            f"{file} has {len(column)} values of {name} in {rows} rows, where {list(shape)} should "
            "be in each. Export it again."
        )
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DatasetError(f"{file} has {name} as {column.type}. Export it again.")
    found: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found.reshape(rows, *shape)


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    """Turns what pyarrow raises for damage into DatasetError; ArrowInvalid is a ValueError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DatasetError(f"{file} is damaged: {what}. Copy it again.") from None


def _files(folder: Path) -> list[Path]:
    found = list((folder / "data").rglob("*.parquet"))
    if not found:
        raise DatasetError(f"{folder / 'data'} holds no Parquet file. Copy the set again, whole.")
    return sorted(found, key=lambda path: _numbers(path.relative_to(folder)))


def _numbers(path: Path) -> list[tuple[str, int]]:
    """So that file 1000 comes behind file 999."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D+)(\d*)", str(path))]
