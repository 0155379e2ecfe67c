"""Windows of a few latents, cut from runs, and read where they are asked for."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.datasets.run import Run, Store
from vidtok_edge.errors import DatasetError, UsageError

__all__ = ["Window", "Windows"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Window:
    """N latents one after another, and what goes along with each."""

    values: NDArray[Any]
    """[N, h, w] tokens or [N, z, h, w] of KL, as small as `SetFacts.dtype`."""
    data: dict[str, NDArray[np.float32]]
    """Of each channel [N, d]."""
    run: int
    """Which one of the dataset."""
    first: int
    """Latent in the run."""


@dataclass(slots=True, kw_only=True)
class Windows:
    """All windows of some runs; the blocks that were read last stay in memory.

    Args:
        length: N, latents of a window.
        stride: latents from where one begins to where the next does.
        cache_bytes: of blocks that stay in memory, in each process; the last one always does.

    Raises:
        UsageError: values that mean nothing.
        DatasetError: there is no window, or the runs do not fit together.
    """

    runs: Sequence[Run]
    length: int
    stride: int = 1
    cache_bytes: int = 64 << 20
    _ends: NDArray[np.int64] = field(init=False)
    """How many windows there are up to each run, and in it."""
    _blocks: OrderedDict[tuple[int, int], NDArray[Any]] = field(default_factory=OrderedDict)
    _held: int = 0

    def __post_init__(self) -> None:
        for name, got in (("length", self.length), ("stride", self.stride)):
            if not 1 <= got < 1 << 31:
                raise UsageError(f"The {name} of windows is {got}; allowed: from 1.")
        first: Run | None = None
        begins: dict[tuple[str, int], Store] = {}
        for run in self.runs:
            here = begins.setdefault((run.recording, run.wall_time_ns), run.store)
            if run.recording and here is not run.store:
                raise DatasetError(
                    f"{here.path} and {run.store.path} hold the same latents: one is a copy, or "
                    "an export, of the other's recording. Name one of them."
                )
            first = first or run
            if run.facts is not first.facts:
                run.facts.require_same(first.facts, run.store.path, first.store.path)
        lengths = np.array([run.length for run in self.runs], np.int64)
        counts = np.maximum(0, (lengths - self.length) // self.stride + 1)
        self._ends = np.cumsum(counts)
        if not len(self):
            most = int(lengths.max(initial=0))
            raise DatasetError(
                f"There is no window of {self.length} latents: the longest run between drops, "
                "gaps, keys, lost cameras and latents that lack a value of a data channel has "
                f"{most}. Ask for shorter windows or fewer channels, or record for longer."
            )

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def fingerprint(self) -> str:
        """Says whether the windows of another process are the same, wherever their files lie."""
        facts = self.runs[0].facts
        lengths = [(run.length, run.wall_time_ns) for run in self.runs]
        own = [lengths, self.length, self.stride, facts.tokenizer.compared, dict(facts.channels)]
        return hashlib.sha256(json.dumps(own).encode()).hexdigest()

    def place(self, number: int) -> tuple[int, int]:
        """The run of a window, and the latent in it that it begins with."""
        if not 0 <= number < len(self):
            raise IndexError(f"window {number} of {len(self)}")
        run = int(np.searchsorted(self._ends, number, side="right"))
        before = int(self._ends[run - 1]) if run else 0
        return run, (number - before) * self.stride

    def __getitem__(self, number: int) -> Window:
        """Read a window. Raises DatasetError: its file changed or is damaged."""
        number, first = self.place(number)
        run, end = self.runs[number], first + self.length
        blocks = range(first // run.store.block, (end - 1) // run.store.block + 1)
        parts = []
        for block in blocks:
            begin = block * run.store.block
            values = self._block(number, block)
            parts.append(values[max(0, first - begin) : end - begin])
        return Window(
            values=np.concatenate(parts),
            data={name: values[first:end] for name, values in run.data.items()},
            run=number,
            first=first,
        )

    def _block(self, number: int, block: int) -> NDArray[Any]:
        key = number, block
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        run = self.runs[number]
        begin = block * run.store.block
        count = min(run.store.block, run.length - begin)
        found = _checked(run, run.store.read(run.place, begin, count), count)
        self._blocks[key], self._held = found, self._held + found.nbytes
        while self._held > self.cache_bytes and len(self._blocks) > 1:
            self._held -= self._blocks.popitem(last=False)[1].nbytes
        return found

    def __getstate__(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.__slots__}
        return own | {"_blocks": OrderedDict(), "_held": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _checked(run: Run, values: NDArray[Any], count: int) -> NDArray[Any]:
    """The latents of a block as they are held, none of them out of its range."""
    tokenizer, dtype = run.facts.tokenizer, run.facts.dtype
    shape = (count, *tokenizer.shape)
    if values.shape != shape or (dtype.kind in "iu") != (values.dtype.kind in "iu"):
        raise DatasetError(
            f"{run.store.path} has latents {values.dtype} {list(values.shape)} where "
            f"{dtype} {list(shape)} should be. Export it again."
        )
    if tokenizer.latent == "fsq":
        low, high = int(values.min()), int(values.max())
        if not 0 <= low <= high < tokenizer.codebook_size:
            raise DatasetError(
                f"{run.store.path} has tokens from {low} to {high}; those of {tokenizer} lie in 0 "
                f"to {tokenizer.codebook_size - 1}. Copy it again, or export it again."
            )
    elif not np.isfinite(values).all():
        raise DatasetError(f"{run.store.path} has latents that are not finite. Export it again.")
    return np.ascontiguousarray(values, dtype)
