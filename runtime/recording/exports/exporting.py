"""Recordings as training data: token files, WebDataset shards, or a LeRobot dataset."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.clips.token_files import TokenFile, TokenMeta
from vidtok_edge.runtime.files import write_folder_beside
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.runtime.recording.exports.episodes import (
    Episode,
    Gaps,
    Happened,
    Row,
    episodes,
    media_time_of,
    parts,
    time_of,
)
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import rate_doubt

__all__ = ["CONTENTS", "Exported", "Format", "export_recording"]

Format = Literal["npz", "webdataset", "lerobot"]
CONTENTS = "recording.json"
"""In a folder of token files or shards: what is in it."""
_NO_SPREAD = -30.0  # the least log variance of VidTok's KL models; a recording holds means alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What `export_recording` wrote."""

    episodes: int
    latents: int
    files: int
    broken: int = 0
    """Places where latents are missing."""
    damaged_bytes: int = 0
    unreadable: int = 0
    """Messages that made no sense."""
    markers: Mapping[str, int] = field(default_factory=dict, compare=False)
    """How many markers of each kind were met."""
    frames_dropped: int = field(default=0, compare=False)
    """That were captured while recording and not encoded."""
    unended: int = 0
    """Sources whose end the recording does not hold."""
    growing: bool = False
    """It was still being recorded to."""
    doubts: tuple[str, ...] = ()
    """Of each source, as `rate_doubt`."""


@dataclass(slots=True)
class _Count:
    """Counts the latents of episodes as they pass."""

    progress: Progress
    latents: int = 0

    def __call__(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self.latents += 1
            self.progress(self.latents, None)
            yield row


def export_recording(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    format: Format,
    *,
    gaps: Gaps = "split",
    task: str = "recorded",
    sample_latents: int = 64,
    shard_bytes: int = 256 << 20,
    force: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Write a recording into the new folder `output`; docs/recording_format.md says what is in it.

    An episode ends where time was left out, never at a `key`: see `episodes`. Latents are read and
    written one after another; only `npz` holds in memory what it writes to one file.

    Args:
        gaps: "keep": an episode goes on where time was left out, and says so in its columns.
        task: LeRobot only: what the robot was doing.
        sample_latents: WebDataset only: latents in one sample; the last of an episode has fewer.
        shard_bytes: WebDataset only: a shard is closed when it is this large.

    Raises:
        RecordingError: not a recording, or no latent in it.
        OutputExists, OutputNotWritable: about `output`. With `force` only an export is replaced.
        MissingDependency: LeRobot without pyarrow.
    """
    if sample_latents < 1 or shard_bytes < 1:
        raise UsageError("A sample has at least one latent, and a shard at least one byte.")
    marker = "meta/info.json" if format == "lerobot" else CONTENTS
    with (
        Recording.open(path) as recording,
        write_folder_beside(output, force, marker=marker) as folder,
    ):
        count = _Count(progress)
        happened: list[Happened] = []
        found = episodes(recording, gaps, happened)
        contents: list[dict[str, Any]] = []
        if format == "npz":
            number = _write_npz(found, folder, count, contents)
        elif format == "webdataset":
            number = _write_shards(found, folder, count, contents, sample_latents, shard_bytes)
        else:
            from vidtok_edge.runtime.recording.exports.lerobot import write_lerobot

            number = write_lerobot(recording, found, folder, count, task, gaps, happened)
        if not count.latents:
            raise RecordingError(f"{path} holds no latent. Record for longer than one latent.")
        if format != "lerobot":
            sources = {
                str(told.source.number): {**told.source.to_map(), **told.facts()}
                for told in happened
            }
            document = {"gaps": gaps, "sources": sources, "episodes": contents}
            text = json.dumps(document, indent=1)
            (folder / CONTENTS).write_text(text, encoding="utf-8")
        return Exported(
            episodes=number,
            latents=count.latents,
            files=sum(1 for file in folder.rglob("*") if file.is_file()),
            broken=sum(told.places_missing for told in happened),
            damaged_bytes=sum(damage.length for damage in recording.damage),
            unreadable=recording.unreadable,
            markers=sum((told.markers for told in happened), Counter()),
            frames_dropped=sum(told.frames_dropped for told in happened),
            unended=sum(not told.ended for told in happened),
            growing=recording.growing,
            doubts=tuple(
                doubt
                for told in happened
                if (doubt := rate_doubt(recording, told.source.number)) is not None
            ),
        )


def _write_npz(
    found: Iterator[Episode], folder: Path, count: _Count, contents: list[dict[str, Any]]
) -> int:
    """A file for each part of an episode that can be decoded as one; how many episodes."""
    number = 0
    for episode in found:
        number += 1
        for rows in parts(count(episode.rows)):
            first = rows[0].latent
            place = f"camera{first.source}-stream{first.stream:04}-latent{first.index:06}"
            name = f"e{episode.number:05}-{place}.npz"
            if (tokens := _token_file(episode, rows)) is None:
                continue
            tokens.save(folder / name)
            contents.append({"file": name, **_facts(episode, rows)})
    return number


def _token_file(episode: Episode, rows: list[Row]) -> TokenFile | None:
    """None: no real frame is in it."""
    latents = [row.latent for row in rows]
    tokenizer = episode.source.tokenizer
    # A run that begins inside a stream is decoded like a stream: its first latent is one frame.
    frames = min(latents[0].frames_real, len(tokenizer.framing.share(0)))
    frames += sum(latent.frames_real for latent in latents[1:])
    if not frames:
        return None
    values = np.stack([latent.values for latent in latents])
    fsq = tokenizer.latent == "fsq"
    meta = TokenMeta.of(
        tokenizer.model,
        weights_sha256=tokenizer.weights_sha256,
        precision=tokenizer.precision,
        height=tokenizer.height,
        width=tokenizer.width,
        fps=episode.fps,
        frames=frames,
        toolkit_version=tokenizer.toolkit_version,
    )
    times = np.array([time_of(latent) for latent in latents], np.int64)
    return TokenFile(
        tokens=values if fsq else None,
        mean=None if fsq else values,
        logvar=None if fsq else np.full_like(values, _NO_SPREAD),
        time_ns=np.maximum.accumulate(times),  # a token file's times never go back
        meta=meta,
    )


def _facts(episode: Episode, rows: list[Row]) -> dict[str, Any]:
    latents = [row.latent for row in rows]
    first, last = latents[0], latents[-1]
    return {
        "episode": episode.number,
        "source": first.source,
        "stream": first.stream,
        "first_latent": first.index,
        "latents": len(latents),
        "first_frame": first.first_frame,
        "frames": sum(latent.frames_real for latent in latents),
        "fps": episode.fps,
        "first_media_time_ns": media_time_of(first),
        "last_media_time_ns": media_time_of(last),
        "first_wall_time_ns": first.wall_time_ns,
        "last_wall_time_ns": last.wall_time_ns,
        "frames_real": [latent.frames_real for latent in latents],
        "frames_dropped_before": [row.frames_dropped_before for row in rows],
        "latents_missing_before": [row.latents_missing_before for row in rows],
        "begins": [row.begins for row in rows],
    }


def _write_shards(
    found: Iterator[Episode],
    folder: Path,
    count: _Count,
    contents: list[dict[str, Any]],
    sample_latents: int,
    shard_bytes: int,
) -> int:
    with _Shards(folder, shard_bytes) as shards:
        for episode in found:
            rows = count(episode.rows)
            kind = "tokens" if episode.source.tokenizer.latent == "fsq" else "latent"
            dtype = np.int32 if kind == "tokens" else np.float16
            entry: dict[str, Any] = {"episode": episode.number, "samples": 0, "latents": 0}
            while sample := list(islice(rows, sample_latents)):
                latents = [row.latent for row in sample]
                key = f"e{episode.number:05}-{entry['latents']:08}"
                array = io.BytesIO()
                values = np.stack([latent.values for latent in latents]).astype(dtype)
                np.save(array, values, allow_pickle=False)
                facts = _facts(episode, sample) | {
                    "streams": [latent.stream for latent in latents],
                    "latent_indices": [latent.index for latent in latents],
                    "capture_time_ns": [latent.capture_time_ns for latent in latents],
                    "media_time_ns": [media_time_of(latent) for latent in latents],
                    "wall_time_ns": [latent.wall_time_ns for latent in latents],
                    "tokenizer": episode.source.tokenizer.to_map(),
                }
                shards.add(
                    key,
                    {
                        f"{kind}.npy": array.getvalue(),
                        "json": json.dumps(facts).encode(),
                    },
                )
                entry.setdefault("source", latents[0].source)
                entry.setdefault("stream", latents[0].stream)
                entry["samples"] += 1
                entry["latents"] += len(sample)
            contents.append(entry)
    return len(contents)


class _Shards:
    """Tar files of samples, one after another; a sample is never split."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._number = 0
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._tar is not None:
            self._tar.close()

    def add(self, key: str, files: dict[str, bytes]) -> None:
        if self._tar is not None and self._tar.offset >= self._shard_bytes:
            self._tar.close()
            self._tar = None
        if self._tar is None:
            path = self._folder / f"shard-{self._number:06}.tar"
            self._tar = tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT)
            self._number += 1
        for suffix, data in files.items():
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
