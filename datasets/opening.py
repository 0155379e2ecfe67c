"""What a path is: a recording, a list of parts, or a folder that `export-recording` wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vidtok_edge.datasets.reading.npz_store import NpzStore
from vidtok_edge.datasets.reading.recording_store import RecordingStore
from vidtok_edge.datasets.reading.shard_store import ShardStore
from vidtok_edge.datasets.run import Store
from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.files import require_each_once
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.existing import format_of
from vidtok_edge.runtime.session.parts_index import parts_in

__all__ = ["stores_of"]


def stores_of(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    source: int | None,
    data: DataRequest | None,
) -> list[Store]:
    """What is read of each path, in order.

    Raises DatasetError: a folder is no exported set; RecordingError: a list of parts is damaged;
    UsageError: nothing, or something twice.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several:
        raise UsageError("Got no recording and no exported set. Name one or several.")
    found: list[Store] = []
    for path in map(Path, several):
        if os.path.isdir(path):  # a name that cannot be one is told where it is opened
            found.append(_set(path, source, data))
            continue
        found += [
            RecordingStore(path=part, source=source, request=data or DataRequest())
            for part in parts_in(path)
        ]
    require_each_once(store.path for store in found)
    return found


def _set(folder: Path, source: int | None, data: DataRequest | None) -> Store:
    format = format_of(folder)
    if format == "webdataset":
        return ShardStore(path=folder, source=source, request=data)
    if format == "npz":
        return NpzStore(path=folder, source=source, request=data)
    from vidtok_edge.datasets.reading.row_store import RowStore  # needs pyarrow

    return RowStore(path=folder, source=source, request=data)
