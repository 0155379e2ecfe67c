"""Reads what lies in an .rrd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rerun.chunk import RrdReader

__all__ = ["rows_of"]


def rows_of(path: Path) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """Place to rows: nanoseconds since 1970, and what was logged then."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for chunk in RrdReader(path).stream():
        if not chunk.entity_path.startswith("/camera"):
            continue
        columns = chunk.to_record_batch()
        times = columns.column("captured").cast("int64").to_pylist()
        logged = columns.select([name for name in columns.schema.names if ":" in name])
        for time, row in zip(times, logged.to_pylist(), strict=True):
            found.setdefault(chunk.entity_path, []).append((time, row))
    return {place: sorted(rows, key=lambda row: row[0]) for place, rows in found.items()}
