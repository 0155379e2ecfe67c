"""The layout of LeRobotDataset v3.0: a row per latent.

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/recording.json
    meta/episodes/chunk-000/file-000.parquet  …
    data/chunk-000/file-000.parquet  …
    videos/observation.images.reconstruction/chunk-000/file-000.mp4  …  where asked for

Columns are flat, as LeRobot's tools that delete and split fail on others, their own included; the
shape is in the feature's `info`. What is in `info` of a feature survives all of its tools, and a
merge with a dataset of another tokenizer is refused. `recording.json` is ours alone, and does not.

Written from LeRobot's own reader and writer (`lerobot/datasets`, `io_utils.py` and
`dataset_metadata.py`); what was checked against them is in docs/recording_format.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.recording.exports.column_statistics import ColumnStatistics, merged_facts
from vidtok_edge.runtime.recording.exports.episodes import (
    BEGINS,
    Episode,
    Row,
    media_time_of,
)
from vidtok_edge.runtime.recording.exports.existing import RECONSTRUCTION, Existing
from vidtok_edge.runtime.recording.exports.inputs import Inputs
from vidtok_edge.runtime.recording.exports.lerobot_before import LeRobotBefore
from vidtok_edge.runtime.recording.exports.lerobot_places import (
    DATA_PATH,
    FILES_PER_CHUNK,
    VIDEO_PATH,
    name_of,
    next_place,
    place_of,
)
from vidtok_edge.runtime.recording.exports.parquet_files import ROWS, ParquetFiles, arrow_of
from vidtok_edge.runtime.recording.exports.values import values_dtype, values_of
from vidtok_edge.runtime.recording.format.data_channels import DataChannel
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

try:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]
except ImportError:
    raise MissingDependency("pyarrow", "datasets", "The LeRobot layout") from None

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.exports.lerobot_video import LeRobotVideo
    from vidtok_edge.runtime.recording.exports.row_pictures import RowPictures

__all__ = ["write_lerobot"]

_FILE_BYTES = 100 << 20  # LeRobot's default; a file ends with an episode
_EPISODES = 64  # in memory at once
_NUMBERS = {
    "observation.source": "int64",
    "observation.capture_time_ns": "int64",
    "observation.media_time_ns": "int64",
    "observation.wall_time_ns": "int64",
    "frames_real": "int64",
    "every": "int64",
    "frames_dropped_before": "int64",
    "latents_missing_before": "int64",
    "begins": "int64",
    "stream": "int64",
    "latent_index": "int64",
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def write_lerobot(
    inputs: Inputs,
    episodes: Iterator[Episode],
    folder: Path,
    task: str,
    named: Mapping[str, str],
    existing: Existing | None = None,
    pictures: RowPictures | None = None,
) -> None:
    """Write the dataset of the episodes of recordings into `folder`.

    Args:
        inputs: the recordings.
        episodes: theirs.
        named: the features that some data channels become; the others are observations.
        existing: the dataset that they are added to, whose data lie in `folder` already.
        pictures: of a video beside; None: there is none.

    Raises:
        RecordingError: sources have different tokenizers or frame rates, or recordings different
            data channels: a dataset has one shape and one rate; or what `RowPictures` raises.
        DatasetError: the dataset that is there has other features, or is damaged.
    """
    facts = inputs.set_facts()
    if facts is None:
        return
    rate = (facts if existing is None else existing.facts).latents_per_s
    video = None if pictures is None else _video(pictures, facts.tokenizer, folder, rate)
    columns = _Columns(facts.tokenizer, _features_of(inputs.channels(), named), video)
    before = None if existing is None else LeRobotBefore.of(existing.path, columns.features)
    tasks = [task] if before is None else list(dict.fromkeys([*before.tasks, task]))
    with (
        _files(folder / "data") as files,
        _files(folder / "meta" / "episodes") as described,
        nullcontext() if video is None else video,
    ):
        dataset = _Dataset(columns, files, described, video, rate, task, tasks.index(task))
        if before is not None:
            dataset.rows = before.rows
        for episode in episodes:
            dataset.write(episode)
        dataset.finish()
    if not dataset.episodes:
        return
    own = {name: column.facts() for name, column in dataset.statistics.items()}
    recorded: dict[str, Any] = {"gaps": inputs.gaps, "tokenizer": facts.tokenizer.to_map()}
    if video is not None:
        own[video.key] = video.statistics()
        first = 0 if before is None else before.episodes
        recorded["videos"] = [*_videos(existing), {"first_episode": first, **video.facts()}]
    if before is None or existing is None:
        _write_meta(folder, _info(dataset), own, tasks, {**recorded, **inputs.facts()})
        return
    info = before.info_with(episodes=dataset.episodes, rows=dataset.rows, tasks=len(tasks))
    stats = {name: merged_facts(before.statistics[name], one) for name, one in own.items()}
    recorded["recordings"] = existing.recordings() + inputs.recordings()
    _write_meta(folder, info, stats, tasks, recorded)


def _files(folder: Path) -> ParquetFiles:
    return ParquetFiles(folder, partial(name_of, suffix=".parquet"), next_place(folder, ".parquet"))


def _video(pictures: RowPictures, tokenizer: Tokenizer, folder: Path, rate: float) -> LeRobotVideo:
    from vidtok_edge.runtime.recording.exports.lerobot_video import LeRobotVideo

    return LeRobotVideo(pictures, folder, tokenizer=tokenizer, rate=rate)


def _videos(existing: Existing | None) -> list[Any]:
    """How those that are there were made, for JSON; as far as it is still told."""
    there = None if existing is None else existing.document.get("videos")
    return there if isinstance(there, list) else []


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a row holds, and its types."""

    tokenizer: Tokenizer
    data: Mapping[str, DataChannel] = field(default_factory=dict)
    """By the feature that it becomes."""
    video: LeRobotVideo | None = None

    @property
    def values(self) -> str:
        return "observation.tokens" if self.tokenizer.latent == "fsq" else "observation.latent"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return values_dtype(self.tokenizer, continuous=np.float32)

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        shape = self.tokenizer.shape
        names = ["height", "width"] if len(shape) == 2 else ["channel", "height", "width"]
        layout = {"shape": list(shape), "axes": names, "order": "C"}
        values = {
            "dtype": self.dtype.name,
            "shape": [prod(shape)],
            "names": None,
            "info": {**layout, "tokenizer": self.tokenizer.compared},
        }
        numbers: dict[str, dict[str, Any]] = {
            name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _NUMBERS.items()
        }
        numbers["begins"]["info"] = {"words": list(BEGINS)}
        own: dict[str, dict[str, Any]] = {}
        for feature, channel in self.data.items():
            names = list(channel.fields) or [f"{channel.name}_{i}" for i in range(channel.size)]
            named = {"names": names, "info": {"channel": channel.name}}
            own[feature] = {"dtype": "float32", "shape": [channel.size], **named}
            own[_age(feature)] = {"dtype": "int64", "shape": [1], "names": None}
        video = {} if self.video is None else {self.video.key: self.video.feature}
        return {self.values: values, **video, **own, **numbers}

    def arrays(self, rows: list[Row]) -> dict[str, NDArray[Any]]:
        """Those that a recording gives."""
        latents = [row.latent for row in rows]
        dropped = [row.frames_dropped_before for row in rows]
        missing = [row.latents_missing_before for row in rows]
        own: dict[str, NDArray[Any]] = {}
        for feature, channel in self.data.items():
            beside = [row.beside[channel.name] for row in rows]
            found = np.stack([one.value for one in beside]).astype(np.float32)
            own[feature] = found[:, 0] if channel.size == 1 else found
            own[_age(feature)] = np.array([one.age_ns for one in beside])
        return own | {
            self.values: values_of(rows, self.dtype).reshape(len(rows), -1),
            "observation.source": np.array([latent.source for latent in latents]),
            "observation.capture_time_ns": np.array([latent.capture_time_ns for latent in latents]),
            "observation.media_time_ns": np.array([media_time_of(latent) for latent in latents]),
            "observation.wall_time_ns": np.array([latent.wall_time_ns for latent in latents]),
            "frames_real": np.array([latent.frames_real for latent in latents]),
            "every": np.array([row.every for row in rows]),
            "frames_dropped_before": np.array(dropped),
            "latents_missing_before": np.array(missing),
            "begins": np.array([BEGINS.index(row.begins) for row in rows]),
            "stream": np.array([latent.stream for latent in latents]),
            "latent_index": np.array([latent.index for latent in latents]),
        }


def _features_of(
    channels: Mapping[str, DataChannel], named: Mapping[str, str]
) -> dict[str, DataChannel]:
    """The feature that each data channel becomes.

    Raises RecordingError: two become the same, or one that is there already.
    """
    features: dict[str, DataChannel] = {}
    for name, channel in channels.items():
        feature = named.get(name, f"observation.{name.replace('/', '.')}")
        if feature in features or feature in _TAKEN:
            raise RecordingError(
                f"The data channel {name} would be the feature {feature}, which is there already. "
                "Name the channels to export with --channels."
            )
        features[feature] = channel
    return features


_TAKEN = {*_NUMBERS, "observation.tokens", "observation.latent", RECONSTRUCTION}


def _age(feature: str) -> str:
    """The column that says how old a value is. LeRobot takes what begins with `action` for one."""
    return f"age_ns.{feature}"


@dataclass(slots=True)
class _Dataset:
    """Rows and episodes on their way into files, and what is summed up of them."""

    columns: _Columns
    data: ParquetFiles
    described: ParquetFiles
    video: LeRobotVideo | None
    rate: float
    task: str
    task_index: int = 0
    episodes: int = 0
    """That were written, without those before."""
    rows: int = 0
    statistics: dict[str, ColumnStatistics] = field(default_factory=dict)
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    """Of episodes that `described` has not."""

    def write(self, episode: Episode) -> None:
        self.data.begin_another_if_larger(_FILE_BYTES)
        begin, own = self.rows, dict[str, ColumnStatistics]()
        while batch := list(islice(episode.rows, ROWS)):
            arrays = self._arrays(batch, episode.number, self.rows - begin)
            for statistics in (own, self.statistics):
                for name, array in arrays.items():
                    _sum_up(statistics.setdefault(name, ColumnStatistics()), array)
            self.data.write(pa.table({name: arrow_of(array) for name, array in arrays.items()}))
            if self.video is not None:
                self.video.write(episode, batch)
            self.rows += len(batch)
        self.episodes += 1
        self._waiting.append(
            {
                "episode_index": episode.number,
                "tasks": [self.task],
                "length": self.rows - begin,
                **{f"data/{name}": value for name, value in place_of(self.data.number).items()},
                "dataset_from_index": begin,
                "dataset_to_index": self.rows,
                **{
                    f"stats/{name}/{fact}": value
                    for name, column in own.items()
                    for fact, value in column.facts().items()
                },
                **({} if self.video is None else self.video.end_episode()),
            }
        )
        if len(self._waiting) >= _EPISODES:
            self.finish()

    def finish(self) -> None:
        """Write the episodes that wait."""
        if not self._waiting:
            return
        self.described.begin_another_if_larger(_FILE_BYTES)
        place = {
            f"meta/episodes/{name}": at for name, at in place_of(self.described.number).items()
        }
        rows = [row | place for row in self._waiting]
        self.described.write(pa.table({name: [row[name] for row in rows] for name in rows[0]}))
        self._waiting = []

    def _arrays(self, batch: list[Row], episode: int, first: int) -> dict[str, NDArray[Any]]:
        at = first + np.arange(len(batch))
        own = self.columns.arrays(batch) | {
            "timestamp": (at / self.rate).astype(np.float32),  # LeRobot wants its own even grid
            "frame_index": at,
            "episode_index": np.full(len(batch), episode),
            "index": self.rows + np.arange(len(batch)),
            "task_index": np.full(len(batch), self.task_index),
        }
        return {name: own[name] for name in self.columns.features if name in own}


def _sum_up(statistics: ColumnStatistics, array: NDArray[Any]) -> None:
    """Without the rows that hold a NaN: one would make all statistics NaN."""
    statistics.add(array[np.isfinite(array.reshape(len(array), -1)).all(axis=1)])


def _info(dataset: _Dataset) -> dict[str, Any]:
    rate = dataset.rate
    return {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": dataset.episodes,
        "total_frames": dataset.rows,
        "total_tasks": 1,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": _FILE_BYTES >> 20,
        "video_files_size_in_mb": 200,
        "fps": int(rate) if rate == int(rate) else rate,
        "splits": {"train": f"0:{dataset.episodes}"},
        "data_path": DATA_PATH,
        "video_path": None if dataset.video is None else VIDEO_PATH,
        "features": dataset.columns.features,
    }


def _write_meta(
    folder: Path,
    info: Mapping[str, Any],
    statistics: Mapping[str, Mapping[str, NDArray[Any]]],
    tasks: Sequence[str],
    recorded: Mapping[str, Any],
) -> None:
    stats = {
        name: {fact: value.tolist() for fact, value in facts.items()}
        for name, facts in statistics.items()
    }
    for name, content in (("info", info), ("stats", stats), ("recording", recorded)):
        text = json.dumps(content, indent=4)
        _made(folder / "meta" / f"{name}.json").write_text(text, encoding="utf-8")
    pq.write_table(_tasks(tasks), folder / "meta" / "tasks.parquet")


def _tasks(tasks: Sequence[str]) -> pa.Table:
    """As pandas writes a frame whose index is the task: that is how LeRobot reads it."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": list(tasks)})
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


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
