"""Runs of a folder of token files, as `export-recording --format npz` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.bounded import opened_zip
from vidtok_edge.datasets.opened import Opened, binary
from vidtok_edge.datasets.reading.channels import channels_in, values_in
from vidtok_edge.datasets.run import Rows, Run
from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.npz import damage_told, read_rows
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.existing import (
    CONTENTS,
    every_in,
    fields_of,
    full_rate,
    recording_of,
    source_name,
)
from vidtok_edge.runtime.recording.exports.set_document import Document
from vidtok_edge.runtime.recording.exports.set_facts import SetFacts
from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts

__all__ = ["NpzStore"]


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    first: int
    """Row of the file that the run begins with."""
    latents: int
    """In the file."""
    facts: SetFacts


@dataclass(slots=True, kw_only=True)
class NpzStore:
    """A folder of token files and `recording.json`.

    What lies in one is compressed as a whole, so every block is found by unpacking what is before
    it: blocks are large, and long recordings are read faster from other formats.
    """

    path: Path
    source: int | None
    request: DataRequest | None
    block: int = 1024
    _opened: Opened[BinaryIO] = field(default_factory=lambda: Opened(binary))

    def runs(self) -> Iterator[Run]:
        """As `Store.runs`."""
        document = Document.load(self.path / CONTENTS)
        known: dict[tuple[str, int], SetFacts] = {}
        for entry in document.each("episodes"):
            told = recording_of(document, entry.whole("episode"))
            key = told.name, entry.whole("source")
            if key not in known:
                known[key] = self._facts(told, entry)
            named = source_name(document, entry.whole("episode"), entry.whole("source"))
            yield from self._runs_in(entry, known[key], named)

    def _facts(self, told: Document, entry: Document) -> SetFacts:
        own = told.of("sources").of(str(entry.whole("source"))).content
        texts = {name: value for name, value in own.items() if isinstance(value, str)}
        tokenizer = SourceFacts.from_map(texts).tokenizer
        return SetFacts(
            tokenizer=tokenizer,
            latents_per_s=full_rate(entry) / tokenizer.time_factor,
            channels=channels_in(told, self.request),
            fields=fields_of(told.of("data").members("channels")),
        )

    def _runs_in(self, entry: Document, facts: SetFacts, named: str) -> Iterator[Run]:
        begins = entry.texts("begins")
        count = len(begins)
        dropped = entry.numbers("frames_dropped_before", count)
        missing = entry.numbers("latents_missing_before", count)
        data: dict[str, NDArray[np.float32]] = {}
        if facts.channels:
            beside = self._file(entry, "data_file")
            data = values_in(self._opened(beside), str(beside), facts.channels, count)
        tokens = self._file(entry, "file")
        self._opened.require_unchanged(tokens)
        same = np.zeros(count, np.int64)
        rows = Rows(
            episode=same,
            source=same + entry.whole("source"),
            stream=same,
            index=np.arange(count),
            slow=every_in(entry, count) != 1,
            interrupted=(dropped > 0) | (missing > 0) | (np.array(begins, object) != ""),
            data=data,
        )
        whole = self.request is None or self.request.missing == "split"
        for first, end in rows.runs(source=self.source, whole=whole):
            yield Run(
                store=self,
                facts=facts,
                place=_Place(tokens, first, count, facts),
                recording=named,
                length=end - first,
                wall_time_ns=entry.whole("first_wall_time_ns"),
                data={name: values[first:end] for name, values in data.items()},
            )

    def _file(self, entry: Document, name: str) -> Path:
        found = entry.text(name)
        if Path(found).name != found:
            raise entry.wrong(name, found)  # it would leave the folder
        return self.path / found

    def read(self, place: _Place, first: int, count: int) -> NDArray[Any]:
        """As `Store.read`."""
        tokenizer = place.facts.tokenizer
        name = "tokens" if tokenizer.latent == "fsq" else "mean"
        expected = (place.latents, *tokenizer.shape)

        def judge(_: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            if shape != expected or dtype not in (np.int32, np.float32):
                raise DatasetError(
                    f"{place.file} has {name} {dtype} {list(shape)} where {list(expected)} should "
                    "be. Export it again."
                )

        try:
            with damage_told(), opened_zip(self._opened(place.file)) as archive:
                member = archive.getinfo(f"{name}.npy")
                with archive.open(member) as file:
                    return read_rows(file, name, judge, place.first + first, count)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{place.file} is damaged: {error}. Export it again.") from None

    def close(self) -> None:
        """As `Store.close`."""
        self._opened.close()
