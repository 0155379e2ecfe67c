"""The layout of LeRobotDataset v3.0: a row per latent.

    meta/info.json  meta/stats.json  meta/tasks.parquet
    meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet  …

Written from LeRobot's own reader and writer (`lerobot/datasets`, `io_utils.py` and
`dataset_metadata.py`); what was checked against them is in docs/recording_format.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.recording.exports.episodes import (
    BEGINS,
    Episode,
    Gaps,
    Happened,
    Row,
    media_time_of,
)
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.recording.playback import frame_rate

try:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]
except ImportError:
    raise MissingDependency("pyarrow", "datasets", "The LeRobot layout") from None

__all__ = ["write_lerobot"]

_FILE_BYTES = 100 << 20  # LeRobot's default; a file ends with an episode
_FILES_PER_CHUNK = 1000
_ROWS = 512  # in memory at once
_ONE_ONLY = ", and a LeRobot dataset has one. Export to webdataset, or record them separately."
_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


def write_lerobot(
    recording: Recording,
    episodes: Iterator[Episode],
    folder: Path,
    count: Callable[[Iterator[Row]], Iterator[Row]],
    task: str,
    gaps: Gaps,
    happened: list[Happened],
) -> int:
    """Write the dataset into `folder`; the number of episodes.

    Raises RecordingError where sources have different tokenizers or frame rates: a dataset has one
    shape and one rate.
    """
    sources = list(recording.sources.values())
    tokenizer = sources[0].tokenizer
    rates = [frame_rate(recording, source.number) for source in sources]
    if any(source.tokenizer != tokenizer for source in sources):
        raise RecordingError("The sources have different tokenizers" + _ONE_ONLY)
    if max(rates) > 1.03 * min(rates):  # less is jitter
        found = ", ".join(f"{rate:.2f}" for rate in rates)
        raise RecordingError(f"The sources run at different rates ({found} frames/s)" + _ONE_ONLY)
    rate = round(median(rates) / tokenizer.time_factor, 6)
    data = _Data(folder, _Columns(tokenizer))
    rows = [data.write(episode, count(episode.rows), rate, task) for episode in episodes]
    data.close()
    if rows:
        facts = {str(told.source.number): told.facts() for told in happened}
        recorded = {"gaps": gaps, "begins": list(BEGINS), "sources": facts}
        _write_meta(folder, data, rows, rate, task, recorded)
    return len(rows)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a row holds, and its Arrow types."""

    tokenizer: Tokenizer

    @property
    def values(self) -> str:
        return "observation.tokens" if self.tokenizer.latent == "fsq" else "observation.latent"

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        fsq = self.tokenizer.latent == "fsq"
        names = ["height", "width"] if fsq else ["channel", "height", "width"]
        return {
            self.values: {
                "dtype": "int32" if fsq else "float32",
                "shape": list(self.tokenizer.shape),
                "names": names,
            },
            **{
                name: {"dtype": dtype, "shape": [1], "names": None}
                for name, dtype in (
                    ("observation.source", "int64"),
                    ("observation.capture_time_ns", "int64"),
                    ("observation.media_time_ns", "int64"),
                    ("observation.wall_time_ns", "int64"),
                    ("frames_real", "int64"),
                    ("frames_dropped_before", "int64"),
                    ("latents_missing_before", "int64"),
                    ("begins", "int64"),
                    ("stream", "int64"),
                    ("latent_index", "int64"),
                    ("timestamp", "float32"),
                    ("frame_index", "int64"),
                    ("episode_index", "int64"),
                    ("index", "int64"),
                    ("task_index", "int64"),
                )
            },
        }

    def table(self, arrays: dict[str, NDArray[Any]]) -> pa.Table:
        return pa.table({name: _arrow(arrays[name]) for name in self.features})


@dataclass(slots=True)
class _Data:
    """The parquet files of rows, and what is summed up while they are written."""

    folder: Path
    columns: _Columns
    written: int = 0
    stats: dict[str, _Sums] = field(default_factory=dict)
    _file: int = 0
    _bytes: int = 0
    _writer: Any = None

    def write(
        self, episode: Episode, rows: Iterator[Row], rate: float, task: str
    ) -> dict[str, Any]:
        """Write an episode; its row in meta/episodes."""
        if self._bytes >= _FILE_BYTES:
            self.close()
            self._file, self._bytes = self._file + 1, 0
        begin = self.written
        while batch := list(islice(rows, _ROWS)):
            arrays = self._arrays(batch, episode.number, self.written - begin, rate)
            for name, array in arrays.items():
                self.stats.setdefault(name, _Sums()).add(array)
            table = self.columns.table(arrays)
            self._open(table.schema).write_table(table)
            self.written += len(batch)
            self._bytes += table.nbytes
        place = {
            "chunk_index": self._file // _FILES_PER_CHUNK,
            "file_index": self._file % _FILES_PER_CHUNK,
        }
        return {
            "episode_index": episode.number,
            "tasks": [task],
            "length": self.written - begin,
            **{f"data/{name}": value for name, value in place.items()},
            "dataset_from_index": begin,
            "dataset_to_index": self.written,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, schema: pa.Schema) -> Any:
        if self._writer is None:
            place = _PLACE.format(
                chunk_index=self._file // _FILES_PER_CHUNK, file_index=self._file % _FILES_PER_CHUNK
            )
            self._writer = pq.ParquetWriter(_made(self.folder / "data" / place), schema)
        return self._writer

    def _arrays(
        self, batch: list[Row], episode: int, first: int, rate: float
    ) -> dict[str, NDArray[Any]]:
        latents = [row.latent for row in batch]
        dropped = [row.frames_dropped_before for row in batch]
        missing = [row.latents_missing_before for row in batch]
        rows = first + np.arange(len(batch))
        return {
            self.columns.values: np.stack([latent.values for latent in latents]),
            "observation.source": np.array([latent.source for latent in latents]),
            "observation.capture_time_ns": np.array([latent.capture_time_ns for latent in latents]),
            "observation.media_time_ns": np.array([media_time_of(latent) for latent in latents]),
            "observation.wall_time_ns": np.array([latent.wall_time_ns for latent in latents]),
            "frames_real": np.array([latent.frames_real for latent in latents]),
            "frames_dropped_before": np.array(dropped),
            "latents_missing_before": np.array(missing),
            "begins": np.array([BEGINS.index(row.begins) for row in batch]),
            "stream": np.array([latent.stream for latent in latents]),
            "latent_index": np.array([latent.index for latent in latents]),
            "timestamp": (rows / rate).astype(np.float32),  # LeRobot wants its own even grid
            "frame_index": rows,
            "episode_index": np.full(len(batch), episode),
            "index": self.written + np.arange(len(batch)),
            "task_index": np.zeros(len(batch), np.int64),
        }


@dataclass(slots=True)
class _Sums:
    """Minimum, maximum, mean and standard deviation along the first axis."""

    count: int = 0
    low: Any = None
    high: Any = None
    mean: Any = 0.0
    squares: Any = 0.0
    """Sum of squared distances from the mean (Chan's update: exact for large numbers too)."""

    def add(self, array: NDArray[Any]) -> None:
        values = array.astype(np.float64)
        number, mean = len(values), values.mean(axis=0)
        low, high = values.min(axis=0), values.max(axis=0)
        self.low = low if self.low is None else np.minimum(self.low, low)
        self.high = high if self.high is None else np.maximum(self.high, high)
        total, step = self.count + number, mean - self.mean
        spread = ((values - mean) ** 2).sum(axis=0)
        self.squares = self.squares + spread + step**2 * self.count * number / total
        self.mean = self.mean + step * number / total
        self.count = total

    def facts(self) -> dict[str, Any]:
        numbers = {
            "min": self.low,
            "max": self.high,
            "mean": self.mean,
            "std": np.sqrt(self.squares / self.count),
        }
        return {name: np.atleast_1d(value).tolist() for name, value in numbers.items()} | {
            "count": [self.count]
        }


def _write_meta(
    folder: Path,
    data: _Data,
    rows: list[dict[str, Any]],
    rate: float,
    task: str,
    recorded: dict[str, Any],
) -> None:
    info = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(rows),
        "total_frames": data.written,
        "total_tasks": 1,
        "chunks_size": _FILES_PER_CHUNK,
        "data_files_size_in_mb": _FILE_BYTES >> 20,
        "video_files_size_in_mb": 200,
        "fps": int(rate) if rate == int(rate) else rate,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": "data/" + _PLACE,
        "video_path": None,
        "features": data.columns.features,
        "tokenizer": data.columns.tokenizer.to_map(),
        "recording": recorded,
    }
    stats = {name: sums.facts() for name, sums in data.stats.items()}
    for name, content in (("info", info), ("stats", stats)):
        text = json.dumps(content, indent=4)
        _made(folder / "meta" / f"{name}.json").write_text(text, encoding="utf-8")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    place = "episodes/" + _PLACE.format(chunk_index=0, file_index=0)
    pq.write_table(pa.table(columns), _made(folder / "meta" / place))
    pq.write_table(_tasks(task), folder / "meta" / "tasks.parquet")


def _tasks(task: str) -> pa.Table:
    """As pandas writes a frame whose index is the task: that is how LeRobot reads it."""
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": [task]})
    kinds = {"task_index": "int64", "task": "unicode"}
    columns = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": kind,
            "numpy_type": "int64" if kind == "int64" else "object",
            "metadata": None,
        }
        for name, kind in kinds.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _arrow(array: NDArray[Any]) -> Any:
    """[n] as numbers, [n, …] as lists in lists."""
    values = pa.array(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        length = array.shape[axis]
        offsets = np.arange(0, len(values) + 1, length, dtype=np.int32)
        values = pa.ListArray.from_arrays(pa.array(offsets), values)
    return values


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
