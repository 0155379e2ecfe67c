"""WebDataset shards: tar files of samples, each some latents and what is known of them."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.recording.exports.episodes import Episode, Row, facts_of, media_time_of
from vidtok_edge.runtime.recording.exports.values import values_dtype, values_of
from vidtok_edge.runtime.recording.exports.with_data import arrays_of, save_arrays

__all__ = ["DEFAULT_SHARDS", "MOST_SHARDS", "sum_of", "write_shards"]

# A reader, which is a worker of a rank, has at least a shard of its own or gets nothing: 8 are
# enough for two ranks of four workers, and few enough that the tars of an hour are not tiny.
DEFAULT_SHARDS = 8
_NAME = re.compile(r"shard-(\d{6,9})\.tar", re.ASCII)
MOST_SHARDS = 256  # all are open at once


def write_shards(
    found: Iterator[Episode],
    folder: Path,
    *,
    sample_latents: int,
    shards: int | None,
) -> dict[str, list[dict[str, Any]]]:
    """Write samples into `folder`, dealt out to shards in turn: what they hold, for JSON.

    Shards that are there already stay, and numbers go on behind theirs.

    Args:
        sample_latents: in one sample; the last of an episode has fewer.
        shards: how many; None: `DEFAULT_SHARDS`, or as many as there are samples.

    Raises UsageError: fewer samples than `shards`.
    """
    contents: list[dict[str, Any]] = []
    with _Shards(folder, shards or DEFAULT_SHARDS) as tars:
        for episode in found:
            entry: dict[str, Any] = {"episode": episode.number, "source": episode.source.number}
            entry["fps"] = episode.fps
            latents = samples = 0
            while sample := list(islice(episode.rows, sample_latents)):
                entry.setdefault("stream", sample[0].latent.stream)
                tars.add(f"e{episode.number:05}-{latents:08}", _sample(episode, sample))
                latents, samples = latents + len(sample), samples + 1
            contents.append({**entry, "samples": samples, "latents": latents})
        if shards is not None and 0 < tars.samples < shards:
            raise UsageError(
                f"There are {tars.samples} samples of up to {sample_latents} latents, and {shards} "
                "shards would not have one each. Ask for fewer with --shards, or for more samples "
                "with --sample-latents."
            )
    return {"shards": tars.facts(), "episodes": contents}


def _sample(episode: Episode, rows: list[Row]) -> dict[str, bytes]:
    """Its files by their suffix."""
    tokenizer = episode.source.tokenizer
    latents = [row.latent for row in rows]
    array = io.BytesIO()
    dtype = values_dtype(tokenizer, continuous=np.float16)
    np.save(array, values_of(rows, dtype), allow_pickle=False)
    facts = facts_of(episode, rows) | {
        "streams": [latent.stream for latent in latents],
        "latent_indices": [latent.index for latent in latents],
        "capture_time_ns": [latent.capture_time_ns for latent in latents],
        "media_time_ns": [media_time_of(latent) for latent in latents],
        "wall_time_ns": [latent.wall_time_ns for latent in latents],
        "tokenizer": tokenizer.to_map(),
        "values_crc32": zlib.crc32(array.getvalue()),
    }
    facts["crc32"] = sum_of(facts)
    kind = "tokens" if tokenizer.latent == "fsq" else "latent"
    files = {f"{kind}.npy": array.getvalue(), "json": json.dumps(facts).encode()}
    if beside := arrays_of(rows):
        archive = io.BytesIO()
        save_arrays(archive, beside)
        files["data.npz"] = archive.getvalue()
    return files


def sum_of(facts: Mapping[str, Any]) -> int:
    """The CRC-32 of the JSON of a sample, but for its own: tar has none for what is in a file."""
    plain = {name: value for name, value in facts.items() if name != "crc32"}
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())


class _Shards:
    """Tar files that take samples in turn, so that none has two more than another."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        there = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
        self._first = 1 + max((int(match[1]) for match in there if match is not None), default=-1)
        self._tars: list[tarfile.TarFile] = []
        self._open = ExitStack()
        self.samples = 0

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def add(self, key: str, files: dict[str, bytes]) -> None:
        number = self.samples % self._most
        if number == len(self._tars):
            path = self._folder / self._name(number)
            tar = tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT)
            self._tars.append(self._open.enter_context(tar))
        for suffix, data in files.items():
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size = len(data)
            self._tars[number].addfile(member, io.BytesIO(data))
        self.samples += 1

    def facts(self) -> list[dict[str, Any]]:
        """Each shard's name and number of samples."""
        return [
            {"file": self._name(number), "samples": len(range(number, self.samples, self._most))}
            for number in range(len(self._tars))
        ]

    def _name(self, number: int) -> str:
        return f"shard-{self._first + number:06}.tar"
