"""Recordings as training data: token files, WebDataset shards, or a LeRobot dataset."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.clips.token_files import TokenFile, TokenMeta
from vidtok_edge.runtime.files import write_folder_beside
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.runtime.recording.exports.episodes import Episode, episodes
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.streaming.records import LatentRecord

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
    """Episodes that begin in the middle of a stream, where latents are missing."""
    damaged_bytes: int = 0
    unreadable: int = 0
    """Messages that made no sense."""


@dataclass(slots=True)
class _Count:
    """Counts the latents of episodes as they pass."""

    progress: Progress
    latents: int = 0
    broken: int = 0

    def __call__(self, latents: Iterator[LatentRecord]) -> Iterator[LatentRecord]:
        for number, latent in enumerate(latents):
            self.broken += number == 0 and latent.index > 0
            self.latents += 1
            self.progress(self.latents, None)
            yield latent


def export_recording(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    format: Format,
    *,
    task: str = "recorded",
    sample_latents: int = 64,
    shard_bytes: int = 256 << 20,
    force: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Write a recording into the new folder `output`; docs/recording_format.md says what is in it.

    Every unbroken run of latents is one episode. Latents are read and written one after another;
    only `npz` holds a whole episode in memory.

    Args:
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
        if format == "npz":
            contents = _write_npz(recording, folder, count)
        elif format == "webdataset":
            contents = _write_shards(recording, folder, count, sample_latents, shard_bytes)
        else:
            from vidtok_edge.runtime.recording.exports.lerobot import write_lerobot

            number = write_lerobot(recording, folder, count, task)
            files = sum(1 for file in folder.rglob("*") if file.is_file())
            contents = [{}] * number
        if not count.latents:
            raise RecordingError(f"{path} holds no latent. Record for longer than one latent.")
        if format != "lerobot":
            facts = {str(n): source.to_map() for n, source in recording.sources.items()}
            text = json.dumps({"sources": facts, "episodes": contents}, indent=1)
            (folder / CONTENTS).write_text(text, encoding="utf-8")
            files = sum(1 for _ in folder.iterdir())
        damaged = sum(damage.length for damage in recording.damage)
        return Exported(
            episodes=len(contents),
            latents=count.latents,
            files=files,
            broken=count.broken,
            damaged_bytes=damaged,
            unreadable=recording.unreadable,
        )


def _write_npz(recording: Recording, folder: Path, count: _Count) -> list[dict[str, Any]]:
    contents = []
    for episode in episodes(recording):
        latents = list(count(episode.latents))
        first = latents[0]
        place = f"camera{first.source}-stream{first.stream:04}-latent{first.index:06}"
        name = f"e{episode.number:05}-{place}.npz"
        if (tokens := _token_file(episode, latents)) is None:
            continue
        tokens.save(folder / name)
        contents.append({"file": name, **_facts(episode, latents)})
    return contents


def _token_file(episode: Episode, latents: list[LatentRecord]) -> TokenFile | None:
    """None: no real frame is in it."""
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
    times = np.array([latent.capture_time_ns for latent in latents], np.int64)
    return TokenFile(
        tokens=values if fsq else None,
        mean=None if fsq else values,
        logvar=None if fsq else np.full_like(values, _NO_SPREAD),
        time_ns=np.maximum.accumulate(times),  # a token file's times never go back
        meta=meta,
    )


def _facts(episode: Episode, latents: list[LatentRecord]) -> dict[str, Any]:
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
        "first_wall_time_ns": first.wall_time_ns,
        "last_wall_time_ns": last.wall_time_ns,
    }


def _write_shards(
    recording: Recording, folder: Path, count: _Count, sample_latents: int, shard_bytes: int
) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    with _Shards(folder, shard_bytes) as shards:
        for episode in episodes(recording):
            latents = count(episode.latents)
            kind = "tokens" if episode.source.tokenizer.latent == "fsq" else "latent"
            dtype = np.int32 if kind == "tokens" else np.float16
            entry: dict[str, Any] = {"episode": episode.number, "samples": 0, "latents": 0}
            while sample := list(islice(latents, sample_latents)):
                key = f"e{episode.number:05}-{sample[0].index:08}"
                array = io.BytesIO()
                values = np.stack([latent.values for latent in sample]).astype(dtype)
                np.save(array, values, allow_pickle=False)
                facts = _facts(episode, sample) | {
                    "capture_time_ns": [latent.capture_time_ns for latent in sample],
                    "wall_time_ns": [latent.wall_time_ns for latent in sample],
                    "tokenizer": episode.source.tokenizer.to_map(),
                }
                shards.add(
                    key,
                    {
                        f"{kind}.npy": array.getvalue(),
                        "json": json.dumps(facts).encode(),
                    },
                )
                entry |= {"source": sample[0].source, "stream": sample[0].stream}
                entry["samples"] += 1
                entry["latents"] += len(sample)
            contents.append(entry)
    return contents


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
