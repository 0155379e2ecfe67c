"""Which windows a DataLoader takes of a map-style dataset, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import Sampler

from vidtok_edge.datasets.progress import Progress
from vidtok_edge.datasets.ranks import rank_of, require_rank
from vidtok_edge.datasets.schedule import Schedule
from vidtok_edge.datasets.token_windows import TokenWindows

__all__ = ["WindowSampler"]


class WindowSampler(Sampler[int]):
    """Numbers of windows in the order of `TokenStream`, each in one rank.

    For example::

        sampler = WindowSampler(windows, seed=1)
        loader = DataLoader(windows, batch_size=32, sampler=sampler, num_workers=4)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for batch in loader: ...

    Args:
        shuffle, seed, rank, world_size: as those of `TokenStream`.
        even: leave out the windows behind the last one that every rank has, at most
            `world_size - 1`.

    Raises UsageError as `TokenStream`.
    """

    def __init__(
        self,
        windows: TokenWindows,
        *,
        shuffle: bool = True,
        seed: int = 0,
        even: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._given = rank is not None
        rank, world_size = rank_of(rank, world_size)
        self.schedule = Schedule(
            windows=len(windows),
            shuffle=shuffle,
            seed=seed,
            batch=1,
            even=even,
            rank=rank,
            world_size=world_size,
        )
        self._progress = Progress(windows.windows.fingerprint)
        self._taken = 0

    def __len__(self) -> int:
        """Windows of this rank that are left of the epoch."""
        return self.schedule.items(self._progress.done)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; call it before each."""
        self._progress.begin(epoch)
        self._taken = 0

    def __iter__(self) -> Iterator[int]:
        if not self._given:
            require_rank(self.schedule.rank, self.schedule.world_size)
        done = self._progress.done
        order = self.schedule.order(self._progress.epoch)
        self._taken = 0
        for number in range(self.schedule.items(done)):
            [chosen] = self.schedule.item(order, done, number)
            self._taken = number + 1
            yield int(chosen)

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """For a checkpoint.

        Args:
            taken: windows that this rank was trained on since `set_epoch` or `load_state_dict`.
                None: as many as were handed out, of which a DataLoader with workers holds some
                that were not trained on yet.
        """
        return self._progress.state(self.schedule, self._taken if taken is None else taken)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state` was taken. UsageError: it is of other windows or orders."""
        self._progress.load(self.schedule, state)
        self._taken = 0
