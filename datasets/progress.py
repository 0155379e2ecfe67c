"""How far an epoch has been read, of one rank, and going on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vidtok_edge.datasets.schedule import Schedule
from vidtok_edge.errors import UsageError

__all__ = ["Progress"]


class Progress:
    """The epoch, and how many of its windows all ranks have taken; seen by workers that live on."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._shared = torch.zeros(3, dtype=torch.int64)
        self._shared.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """Of the order."""
        return int(self._shared[0])

    @property
    def done(self) -> int:
        """Windows of the epoch that are not read again."""
        return int(self._shared[1])

    @property
    def by_workers(self) -> bool:
        """Whether workers have read of it since it began."""
        return bool(self._shared[2])

    def read_by_a_worker(self) -> None:
        """Remember that."""
        self._shared[2] = 1

    def begin(self, epoch: int, done: int = 0) -> None:
        """Go on behind the first `done` windows of `epoch`. UsageError: no such epoch."""
        if not 0 <= epoch < 1 << 62:
            raise UsageError(f"The epoch is {epoch}; allowed: from 0.")
        self._shared[0], self._shared[1], self._shared[2] = epoch, done, 0

    def state(self, schedule: Schedule, items: int) -> dict[str, Any]:
        """For a checkpoint: `items` of each rank were taken since `done`."""
        return {
            "epoch": self.epoch,
            "done": schedule.done(self.done, items),
            "seed": schedule.seed,
            "shuffle": schedule.shuffle,
            "windows": schedule.windows,
            "fingerprint": self._fingerprint,
        }

    def load(self, schedule: Schedule, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Raises UsageError: it was, of other windows or orders."""
        here = self.state(schedule, 0)
        if here.keys() != dict(state).keys():
            raise UsageError(
                f"The state has {', '.join(map(str, state))}; allowed: what state_dict() gave, "
                f"which has {', '.join(here)}."
            )
        if not 0 <= state["done"] <= schedule.windows:
            raise UsageError(f"The state has {state['done']} of {schedule.windows} windows done.")
        for name in ("seed", "shuffle", "windows", "fingerprint"):
            if state[name] != here[name]:
                raise UsageError(
                    f"The state was taken where {name} was {state[name]}; here it is {here[name]}. "
                    "Open the same recordings with the same length, stride, seed and shuffle."
                )
        self.begin(state["epoch"], state["done"])
