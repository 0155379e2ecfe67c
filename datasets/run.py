"""A run: latents of one stream between which no time was left out. Windows are cut from one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.recording.exports.set_facts import SetFacts

__all__ = ["Rows", "Run", "Store"]


class Store(Protocol):
    """A recording, or an exported set, that runs are read from.

    It can be pickled, and used in a process that was forked: files are opened where they are read.
    """

    path: Path
    block: int
    """Latents that are read at once: as many as its file gives up cheaply together."""

    def runs(self) -> Iterator[Run]:
        """All of its runs. Raises DatasetError, RecordingError: it cannot be used."""

    def read(self, place: Any, first: int, count: int) -> NDArray[Any]:
        """Latents of a run, [count, h, w] or [count, z, h, w], of any whole or floating type."""

    def close(self) -> None:
        """Close its files; they are opened again where something is read."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run:
    """What is known of a run without its latents, which stay on disk."""

    store: Store
    facts: SetFacts
    place: Any
    """Where it lies, as its store knows."""
    recording: str
    """NAME:SOURCE, by the recording's random name and the number of the source; empty: unknown."""
    length: int
    """Latents."""
    wall_time_ns: int
    """Of the first latent, or of the first one of the file or sample that it lies in: it tells runs
    of one length apart."""
    data: Mapping[str, NDArray[np.float32]]
    """Of each channel [length, d]."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """What an exported set says of its latents, one after another: where runs end."""

    episode: NDArray[np.int64]
    source: NDArray[np.int64]
    stream: NDArray[np.int64]
    index: NDArray[np.int64]
    """In the stream."""
    interrupted: NDArray[np.bool_]
    """Frames were dropped or latents are missing before it, or a stream begins with it."""
    slow: NDArray[np.bool_]
    """Only some of the frames were encoded in its stream: between it and the next is more time."""
    data: Mapping[str, NDArray[np.float32]]
    """Of each channel [n, d]; NaN where a value is missing."""

    def runs(self, *, source: int | None, whole: bool) -> list[tuple[int, int]]:
        """From where to before where each run goes.

        Args:
            source: of this one alone. Slow latents are in no run.
            whole: latents that lack a value of a channel are in no run.
        """
        count = len(self.index)
        if not count:
            return []
        begins = self.interrupted.copy()
        begins[0] = True
        for column in (self.episode, self.source, self.stream):
            begins[1:] |= column[1:] != column[:-1]
        begins[1:] |= self.index[1:] != self.index[:-1] + 1
        taken = ~self.slow if source is None else ~self.slow & (self.source == source)
        if whole:
            for values in self.data.values():
                taken &= ~np.isnan(values).any(axis=1)
        first = taken.copy()
        first[1:] &= begins[1:] | ~taken[:-1]
        last = taken.copy()
        last[:-1] &= begins[1:] | ~taken[1:]
        return [
            (int(a), int(b) + 1)
            for a, b in zip(np.flatnonzero(first), np.flatnonzero(last), strict=True)
        ]
