"""A folder of Parquet files that `datasets.load_dataset` of Hugging Face opens: a row per latent.

    README.md  recording.json
    data/train-00000.parquet  …

Values are lists of one length inside one another, [h][w] of tokens, so that every reader of Parquet
gives them their shape. README.md is a dataset card, whose head says where the files are. Each file
says by itself, under `vidtok_edge` in the metadata of its schema, whose latents it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.episodes import Episode, Row, media_time_of
from vidtok_edge.runtime.recording.exports.inputs import Inputs
from vidtok_edge.runtime.recording.exports.parquet_files import (
    ROWS,
    ParquetFiles,
    arrow_of,
    next_number,
)
from vidtok_edge.runtime.recording.exports.set_facts import SetFacts
from vidtok_edge.runtime.recording.exports.values import values_of
from vidtok_edge.runtime.recording.format.data_channels import DataChannel

try:
    import pyarrow as pa  # type: ignore[import-untyped]
except ImportError:
    raise MissingDependency("pyarrow", "datasets", "A Parquet file") from None

__all__ = ["FORMAT", "KEY", "write_parquet"]

KEY = b"vidtok_edge"
FORMAT = 1
_FILE_BYTES = 100 << 20
_NAMES = re.compile(r"train-(\d{1,9})\.parquet", re.ASCII)
_OWN = (
    "tokens",
    "latent",
    "episode_index",
    "position",
    "source",
    "stream",
    "latent_index",
    "frames_real",
    "frames_dropped_before",
    "latents_missing_before",
    "every",
    "begins",
    "capture_time_ns",
    "media_time_ns",
    "wall_time_ns",
)


def write_parquet(
    inputs: Inputs,
    found: Iterator[Episode],
    folder: Path,
    *,
    facts: SetFacts | None,
    added: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Write the rows of episodes into `folder`: what its episodes are, for JSON.

    Args:
        inputs: the recordings.
        found: their episodes.
        facts: of the set; None: there is no latent.
        added: files lie in `folder` already, and stay as they are.

    Raises RecordingError: recordings have different channels, or one is called as a column is.
    """
    if facts is None:
        return {"episodes": []}
    channels = inputs.channels()
    if taken := [name for name in channels if name in _OWN or name.startswith("age_ns.")]:
        raise RecordingError(
            f"The data channel {taken[0]} would be the column {taken[0]}, which is there already. "
            "Name the channels to export with --channels."
        )
    rows = _Rows(facts, channels, inputs.data)
    episodes: list[dict[str, Any]] = []
    first_file = next_number(folder / "data", _NAMES) if added else 0
    with ParquetFiles(folder / "data", _name, first_file) as files:
        for episode in found:
            files.begin_another_if_larger(_FILE_BYTES)
            count = 0
            while batch := list(islice(episode.rows, ROWS)):
                files.write(rows.table(batch, episode.number, count))
                count += len(batch)
            entry = {"episode": episode.number, "source": episode.source.number, "latents": count}
            episodes.append({**entry, "fps": episode.fps, "file": f"data/{_name(files.number)}"})
    if not (folder / "README.md").exists():
        (folder / "README.md").write_text(_card(facts, channels), encoding="utf-8")
    return {"episodes": episodes}


def _name(number: int) -> str:
    return f"train-{number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Makes tables of latents, all with one schema."""

    facts: SetFacts
    channels: Mapping[str, DataChannel]
    request: DataRequest

    def table(self, rows: list[Row], episode: int, first: int) -> pa.Table:
        """`first`: of the rows, in the episode."""
        latents = [row.latent for row in rows]
        columns: dict[str, NDArray[Any]] = {
            self.facts.kind: values_of(rows, self.facts.dtype),
            **self._beside(rows),
            "episode_index": np.full(len(rows), episode),
            "position": first + np.arange(len(rows)),
            "source": np.array([latent.source for latent in latents]),
            "stream": np.array([latent.stream for latent in latents]),
            "latent_index": np.array([latent.index for latent in latents]),
            "frames_real": np.array([latent.frames_real for latent in latents]),
            "frames_dropped_before": np.array([row.frames_dropped_before for row in rows]),
            "every": np.array([row.every for row in rows]),
            "latents_missing_before": np.array([row.latents_missing_before for row in rows]),
            "capture_time_ns": np.array([latent.capture_time_ns for latent in latents]),
            "media_time_ns": np.array([media_time_of(latent) for latent in latents]),
            "wall_time_ns": np.array([latent.wall_time_ns for latent in latents]),
        }
        arrays = {name: arrow_of(column) for name, column in columns.items()}
        arrays["begins"] = pa.array([row.begins for row in rows], pa.string())
        told = json.dumps(
            {
                "format": FORMAT,
                "data": self.request.facts(),
                "latents_per_s": self.facts.latents_per_s,
                "tokenizer": self.facts.tokenizer.to_map(),
                "channels": {
                    name: {"size": one.size, "fields": list(one.fields)}
                    for name, one in self.channels.items()
                },
            }
        )
        return pa.table(arrays).replace_schema_metadata({KEY: told.encode()})

    def _beside(self, rows: list[Row]) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        for name in self.channels:
            beside = [row.beside[name] for row in rows]
            found[name] = np.stack([one.value for one in beside]).astype(np.float32)
            found[f"age_ns.{name}"] = np.array([one.age_ns for one in beside], np.int64)
        return found


def _card(facts: SetFacts, channels: Mapping[str, DataChannel]) -> str:
    tokenizer = facts.tokenizer
    shape = " x ".join(map(str, tokenizer.shape))
    beside = "".join(
        f"| `{name}` | float32 [{one.size}]{' ' if one.fields else ''}{', '.join(one.fields)} |\n"
        for name, one in channels.items()
    )
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
tags:
- robotics
- video
- vidtok-edge
---
# Latents of a robot's cameras

A row is a latent of {tokenizer}, {facts.latents_per_s:g} per second. `recording.json` has what
happened while it was recorded.

| column | is |
|---|---|
| `{facts.kind}` | {facts.dtype.name} [{shape}] |
{beside}| `age_ns.NAME` | ns from the sample of channel NAME to the latent; -1: there is none |
| `episode_index`, `position` | latents of an episode are neighbours in time |
| `source`, `stream`, `latent_index` | which camera, which of its streams, which latent of that |
| `frames_real`, `every` | frames that it stands for; of so many of the camera one was encoded |
| `frames_dropped_before`, `latents_missing_before`, `begins` | what happened before it |
| `capture_time_ns`, `media_time_ns`, `wall_time_ns` | of its last frame |
"""
