"""Runs of a recording, whose latents are read from its chunks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.datasets.opened import Opened
from vidtok_edge.datasets.run import Run
from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.episodes import Row, episodes
from vidtok_edge.runtime.recording.exports.set_facts import SetFacts
from vidtok_edge.runtime.recording.exports.with_data import Data
from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.part import Part
from vidtok_edge.runtime.streaming.records import LatentRecord

__all__ = ["RecordingStore"]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    source: int
    stream: int
    index: int
    """Of its first latent."""
    times_ns: NDArray[np.int64]
    """Of each latent, as `log_time_ns`: 8 bytes of memory for one that has 2 KB of tokens."""


class _Growing:
    """A run while its latents are looked at: their values are left on disk."""

    def __init__(self, first: LatentRecord) -> None:
        self.source, self.stream, self.index = first.source, first.stream, first.index
        self.times_ns: list[int] = []
        self.data: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)

    def goes_on_with(self, row: Row) -> bool:
        due = self.stream, self.index + len(self.times_ns)
        follows = (row.latent.stream, row.latent.index) == due
        return follows and row.continues and not row.begins and row.every == 1

    def add(self, row: Row) -> None:
        self.times_ns.append(row.latent.log_time_ns)
        for name, beside in row.beside.items():
            self.data[name].append(beside.value.astype(np.float32))


@dataclass(slots=True, kw_only=True)
class RecordingStore:
    """A recording (.mcap).

    While its runs are told, the samples of its channels are held: as an export does.
    """

    path: Path
    source: int | None
    request: DataRequest
    block: int = 64  # latents: about nine chunks, each of which has what went on in a second
    _opened: Opened[Recording] = field(default_factory=lambda: Opened(Recording.open))

    def runs(self) -> Iterator[Run]:
        """As `Store.runs`."""
        recording = self._opened(self.path)
        data = Data.of(recording, self.request)
        channels = {name: found.channel.size for name, found in data.channels.items()}
        part = Part.of(recording, source=self.source)
        known: dict[int, SetFacts] = {}
        for episode in data(episodes(recording, "split", part=part)):
            source = episode.source
            if source.number not in known:
                known[source.number] = SetFacts(
                    tokenizer=source.tokenizer,
                    latents_per_s=episode.fps / source.tokenizer.time_factor,
                    channels=channels,
                    fields={
                        name: found.channel.fields
                        for name, found in data.channels.items()
                        if found.channel.fields
                    },
                )
            growing: _Growing | None = None
            for row in episode.rows:
                if growing is not None and not growing.goes_on_with(row):
                    yield self._run(growing, source, known[source.number])
                    growing = None
                if row.every != 1:  # of another rate
                    continue
                growing = growing or _Growing(row.latent)
                growing.add(row)
            if growing is not None:
                yield self._run(growing, source, known[source.number])

    def _run(self, growing: _Growing, source: SourceFacts, facts: SetFacts) -> Run:
        times = np.array(growing.times_ns, np.int64)
        place = _Place(growing.source, growing.stream, growing.index, times)
        data = {name: np.stack(growing.data[name]) for name in facts.channels}
        return Run(
            store=self,
            facts=facts,
            place=place,
            recording=source.recording and f"{source.recording}:{source.number}",
            length=len(times),
            wall_time_ns=int(times[0]),
            data=data,
        )

    def read(self, place: _Place, first: int, count: int) -> NDArray[np.generic]:
        """As `Store.read`."""
        times = place.times_ns[first : first + count]
        begin = place.index + first
        found: dict[int, NDArray[np.generic]] = {}
        entries = self._opened(self.path).entries(
            place.source, start_ns=int(times.min()), end_ns=int(times.max()) + 1
        )
        for entry in entries:
            if (
                isinstance(entry, LatentRecord)
                and entry.stream == place.stream
                and begin <= entry.index < begin + count
            ):
                found[entry.index] = entry.values
        if len(found) != count:
            raise DatasetError(
                f"{self.path} gave {len(found)} of {count} latents that it had when the dataset "
                "was opened. It has changed; open the dataset again."
            )
        return np.stack([found[begin + i] for i in range(count)])

    def close(self) -> None:
        """As `Store.close`."""
        self._opened.close()
