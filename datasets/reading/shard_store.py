"""Runs of a folder of shards, as `export-recording --format webdataset` writes it."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.bounded import PIECE
from vidtok_edge.datasets.opened import Opened, binary
from vidtok_edge.datasets.reading.channels import Channels, channels_in, values_in
from vidtok_edge.datasets.run import Rows, Run
from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.npz import damage_told, read_rows
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.existing import (
    CONTENTS,
    every_in,
    fields_of,
    full_rate,
    recordings_of,
    source_name,
)
from vidtok_edge.runtime.recording.exports.set_document import Document
from vidtok_edge.runtime.recording.exports.set_facts import Fields, SetFacts, require_same_fields
from vidtok_edge.runtime.recording.exports.webdataset import sum_of
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

__all__ = ["ShardStore"]

_KEY = re.compile(r"e(\d{5,18})-(\d{8,18})\.(tokens\.npy|latent\.npy|json|data\.npz)", re.ASCII)
_ROWS = ("stream", "index", "source", "slow", "interrupted")
_BLOCK = 512  # of a tar file
_LARGEST = 64 << 20  # bytes of the JSON or the data of a sample
_SUM = "what a sample says or holds does not fit its checksum. Copy it again."


@dataclass(frozen=True, slots=True, order=True)
class _Sample:
    episode: int
    first: int
    """Latent of the episode that it begins with."""
    shard: Path = field(compare=False)
    members: dict[str, tuple[int, int]] = field(compare=False)
    """Where each of its files lies in the shard, and how long it is."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Latents of a sample, as a part of a run."""

    begin: int
    """In the run."""
    shard: Path
    offset: int
    """Of its npy."""
    size: int
    """Of that, in bytes."""
    crc: int | None
    """Of that; None: an earlier version wrote it."""
    first: int
    """Row of that."""
    rows: int
    """That it has in all."""


@dataclass(frozen=True, slots=True)
class _Place:
    facts: SetFacts
    pieces: Sequence[_Piece]


@dataclass(slots=True, kw_only=True)
class ShardStore:
    """A folder of shards and `recording.json`; the samples of an episode are put together again."""

    path: Path
    source: int | None
    request: DataRequest | None
    block: int = 64
    _opened: Opened[BinaryIO] = field(default_factory=lambda: Opened(binary))
    _sound: set[tuple[Path, int]] = field(default_factory=set)
    """Where the npy lie whose sum was found to fit."""

    def runs(self) -> Iterator[Run]:
        """As `Store.runs`."""
        document = Document.load(self.path / CONTENTS)
        channels: Channels | None = None
        fields: Fields = {}
        for told in recordings_of(document):
            own = channels_in(told, self.request)
            if channels is not None and own != channels:
                raise told.wrong("data", f"of other channels: {', '.join(own)}")
            channels = own
            named = fields_of(told.of("data").members("channels"))
            named = {name: one for name, one in named.items() if name in own}
            require_same_fields(named, fields, told.name, "one before it")
            fields = {**named, **fields}
        facts: dict[str, SetFacts] = {}
        episode: list[tuple[_Sample, Document]] = []
        for sample in sorted(self._samples(document)):
            if episode and episode[-1][0].episode != sample.episode:
                yield from self._runs_in(document, episode, channels or {}, fields, facts)
                episode = []
            offset, size = sample.members.get("json", (0, 0))
            text = self._bytes(sample.shard, offset, size)
            told = Document.parse(f"{sample.shard}: {sample.first}", text)
            if told.has("crc32") and told.content["crc32"] != sum_of(told.content):
                raise DatasetError(f"{told.name} is damaged: {_SUM}")
            episode.append((sample, told))
        if episode:
            yield from self._runs_in(document, episode, channels or {}, fields, facts)

    def _samples(self, document: Document) -> Iterator[_Sample]:
        for entry in document.each("shards"):
            name = entry.text("file")
            if Path(name).name != name:
                raise entry.wrong("file", name)  # it would leave the folder
            found: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}
            shard = self.path / name
            for member, offset, size in _members(self._opened(shard), shard):
                if (match := _KEY.fullmatch(member)) is None:
                    raise DatasetError(f"{shard} holds {member[:80]!r}, which no export writes.")
                key = int(match[1]), int(match[2])
                found.setdefault(key, {})[match[3]] = offset, size
            if len(found) != entry.whole("samples"):
                raise DatasetError(
                    f"{shard} holds {len(found)} samples, and {CONTENTS} says "
                    f"{entry.whole('samples')}. Copy it again."
                )
            for (episode, first), members in found.items():
                yield _Sample(episode, first, shard, members)

    def _runs_in(
        self,
        document: Document,
        episode: Sequence[tuple[_Sample, Document]],
        channels: Channels,
        fields: Fields,
        known: dict[str, SetFacts],
    ) -> Iterator[Run]:
        """Of the samples of an episode, in order."""
        facts = _facts(episode[0][1], channels, fields, known)
        rows, places = self._rows(episode, facts)
        whole = self.request is None or self.request.missing == "split"
        for first, end in rows.runs(source=self.source, whole=whole):
            pieces = []
            for begin, sample, count, crc in places:
                if begin < end and first < begin + count:
                    skipped = max(0, first - begin)
                    offset, size = sample.members[_values(facts)]
                    at = begin + skipped - first
                    pieces.append(_Piece(at, sample.shard, offset, size, crc, skipped, count))
            data = {name: values[first:end] for name, values in rows.data.items()}
            place = _Place(facts, pieces)
            yield Run(
                store=self,
                facts=facts,
                place=place,
                recording=source_name(document, episode[0][0].episode, int(rows.source[first])),
                length=end - first,
                wall_time_ns=episode[0][1].whole("first_wall_time_ns"),
                data=data,
            )

    def _rows(
        self, episode: Sequence[tuple[_Sample, Document]], facts: SetFacts
    ) -> tuple[Rows, list[tuple[int, _Sample, int, int | None]]]:
        """What is said of an episode's latents; and of each sample its begin, length and sum."""
        columns: dict[str, list[NDArray[Any]]] = {}
        places, begin, due = [], 0, episode[0][0].first
        for sample, told in episode:
            begins = told.texts("begins")
            count = len(begins)
            if not count or _values(facts) not in sample.members:
                raise DatasetError(f"{told.name} is damaged: it has no latents. Copy it again.")
            interrupted = np.array(begins, object) != ""
            for name in ("frames_dropped_before", "latents_missing_before"):
                interrupted |= told.numbers(name, count) > 0
            interrupted[0] |= sample.first != due  # the one before it is gone
            own: dict[str, NDArray[Any]] = {
                "stream": told.numbers("streams", count),
                "index": told.numbers("latent_indices", count),
                "source": np.full(count, told.whole("source")),
                "slow": every_in(told, count) != 1,
                "interrupted": interrupted.astype(np.bool_),
            }
            if facts.channels:
                offset, size = sample.members.get("data.npz", (0, 0))
                file = io.BytesIO(self._bytes(sample.shard, offset, size))
                own |= values_in(file, told.name, facts.channels, count)
            for name, column in own.items():
                columns.setdefault(name, []).append(column)
            crc = told.whole("values_crc32") if told.has("values_crc32") else None
            places.append((begin, sample, count, crc))
            begin, due = begin + count, sample.first + count
        joined = {name: np.concatenate(parts) for name, parts in columns.items()}
        known = {name: joined.pop(name) for name in _ROWS}
        return Rows(episode=np.zeros(begin, np.int64), data=joined, **known), places

    def read(self, place: _Place, first: int, count: int) -> NDArray[Any]:
        """As `Store.read`."""
        tokenizer, parts, end = place.facts.tokenizer, [], first + count

        def judge(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            if shape[1:] != tokenizer.shape or dtype not in (np.uint16, np.int32, np.float16):
                raise DatasetError(
                    f"{name} has latents {dtype} {list(shape)} where rows of "
                    f"{list(tokenizer.shape)} should be. Export it again."
                )

        for piece in place.pieces:
            length = piece.rows - piece.first
            begin, stop = max(first, piece.begin), min(end, piece.begin + length)
            if begin >= stop:
                continue
            self._require_sound(piece)
            file = self._opened(piece.shard)
            file.seek(piece.offset)
            row = piece.first + begin - piece.begin
            try:
                with damage_told():
                    parts.append(read_rows(file, str(piece.shard), judge, row, stop - begin))
            except (OSError, ValueError) as error:
                raise DatasetError(f"{piece.shard} is damaged: {error}. Export it again.") from None
        return np.concatenate(parts)

    def _require_sound(self, piece: _Piece) -> None:
        place = piece.shard, piece.offset
        if piece.crc is None or place in self._sound:
            return
        file, crc, left = self._opened(piece.shard), 0, piece.size
        file.seek(piece.offset)
        while left and (part := file.read(min(left, PIECE))):
            crc, left = zlib.crc32(part, crc), left - len(part)
        if crc != piece.crc:
            raise DatasetError(f"{piece.shard} is damaged: {_SUM}")
        self._sound.add(place)

    def _bytes(self, shard: Path, offset: int, size: int) -> bytes:
        if not 0 < size <= _LARGEST:
            raise DatasetError(f"{shard} has a sample without its JSON or its data. Copy it again.")
        file = self._opened(shard)
        file.seek(offset)
        found = file.read(size)
        if len(found) != size:
            raise DatasetError(f"{shard} is cut off. Copy it again.")
        return found

    def close(self) -> None:
        """As `Store.close`."""
        self._opened.close()


def _values(facts: SetFacts) -> str:
    return "tokens.npy" if facts.tokenizer.latent == "fsq" else "latent.npy"


def _facts(
    told: Document, channels: Channels, fields: Fields, known: dict[str, SetFacts]
) -> SetFacts:
    """Of an episode; the same object where they are the same, which is quick to compare."""
    own = told.of("tokenizer").content
    texts = {name: value for name, value in own.items() if isinstance(value, str)}
    key = repr((texts, full_rate(told)))
    if key not in known:
        tokenizer = Tokenizer.from_map(texts)
        rate = full_rate(told) / tokenizer.time_factor
        known[key] = SetFacts(
            tokenizer=tokenizer, latents_per_s=rate, channels=channels, fields=fields
        )
    return known[key]


def _members(file: IO[bytes], shard: Path) -> Iterator[tuple[str, int, int]]:
    """Name, place and length of every file in a tar file of plain files alone."""
    end = file.seek(0, os.SEEK_END)
    offset = 0
    while offset + _BLOCK <= end:
        file.seek(offset)
        head = file.read(_BLOCK)
        if not head.strip(b"\0"):
            return
        try:
            member = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise DatasetError(f"{shard} is damaged: {error}. Copy it again.") from None
        offset += _BLOCK
        if not member.isreg() or not 0 <= member.size <= end - offset:
            raise DatasetError(
                f"{shard} is cut off, or holds something else than files: {member.name[:80]!r}. "
                "Copy it again."
            )
        yield member.name, offset, member.size
        offset += -(-member.size // _BLOCK) * _BLOCK
