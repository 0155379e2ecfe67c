"""Which windows each rank takes, in which order: a function of seed and epoch alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import UsageError

__all__ = ["Schedule"]

_STEP = np.uint64(0x9E3779B97F4A7C15)  # splitmix64 (Steele, Lea and Flood 2014)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The order of an epoch, dealt out to ranks in turn, an item each.

    An item is a batch, and which windows it has does not depend on how many workers read.

    Args:
        windows: in all.
        batch: windows of an item; the last one of an epoch may have fewer.
        even: leave out what is behind the last item that every rank has, whole. Otherwise each
            window is in one item, and a rank may have one item more than another.

    Raises:
        UsageError: values that mean nothing.
    """

    windows: int
    shuffle: bool
    seed: int
    batch: int
    even: bool
    rank: int
    world_size: int

    def __post_init__(self) -> None:
        for name, got, allowed in (
            ("seed", self.seed, range(1 << 63)),
            ("batch size", self.batch, range(1, 1 << 31)),
            ("world size", self.world_size, range(1, 1 << 20)),
            ("rank", self.rank, range(max(1, self.world_size))),
        ):
            if got not in allowed:
                raise UsageError(f"The {name} is {got}; allowed: {allowed[0]} to {allowed[-1]}.")

    def order(self, epoch: int) -> NDArray[np.int64]:
        """All windows, [windows], in the order of an epoch: the same wherever it is asked for."""
        if not self.shuffle:
            return np.arange(self.windows, dtype=np.int64)
        begin = _mixed(_mixed(np.array([self.seed], np.uint64)) + np.uint64(epoch))
        # A mix is one to one, so that no two keys are equal; and it is the same with every NumPy.
        keys = _mixed(begin + _STEP * np.arange(1, self.windows + 1, dtype=np.uint64))
        return np.argsort(keys, kind="stable")

    def items(self, done: int) -> int:
        """How many items this rank has behind the first `done` windows of an epoch."""
        left, every = self.windows - done, self.batch * self.world_size
        if self.even or left % every == 0:
            return left // every
        return left // every + (left % every > self.rank * self.batch)

    def item(self, order: NDArray[np.int64], done: int, number: int) -> NDArray[np.int64]:
        """Windows of item `number` of this rank behind the first `done`."""
        begin = done + (number * self.world_size + self.rank) * self.batch
        return order[begin : begin + self.batch]

    def done(self, before: int, items: int) -> int:
        """Windows of an epoch that all ranks have taken, when each took `items` behind `before`.

        Raises UsageError: fewer than none.
        """
        if items < 0:
            raise UsageError(f"The number of items taken is {items}; allowed: from 0.")
        return min(self.windows, before + items * self.batch * self.world_size)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * _FACTORS[0]
    values = (values ^ (values >> np.uint64(27))) * _FACTORS[1]
    return values ^ (values >> np.uint64(31))
