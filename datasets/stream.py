"""An iterable PyTorch dataset: the windows of an epoch in their order, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from vidtok_edge.datasets.progress import Progress
from vidtok_edge.datasets.ranks import rank_of, require_rank
from vidtok_edge.datasets.schedule import Schedule
from vidtok_edge.datasets.token_windows import TokenWindows, tensors_of

__all__ = ["TokenStream"]


class TokenStream(IterableDataset[dict[str, Any]]):
    """Batches of windows, each window once in an epoch over all workers and ranks.

        stream = TokenStream(windows, batch_size=32, seed=1)
        loader = DataLoader(stream, batch_size=None, num_workers=4)
        for epoch in range(10):
            stream.set_epoch(epoch)
            for batch in loader: ...    # batch["tokens"] int64 [32, N, h, w]

    The batches and their order follow from seed and epoch, however many workers read them: batch j
    of a rank is read by worker j modulo their number, and a DataLoader takes from them in turn. So
    a checkpoint needs nothing but the number of batches that were trained on: `state_dict`.

    Args:
        windows: what is read.
        batch_size: windows of a batch, [B, N, ...]; the last one of an epoch may have fewer. Leave
            batching to it: give DataLoader `batch_size=None`.
        shuffle: else in the order of `windows`.
        seed: of the order.
        even: leave out the windows behind the last batch that every rank has, whole: every rank has
            as many batches. Otherwise one rank may have one more, for which others would wait.
        rank, world_size: of this training process; None: as torch.distributed says, where it is
            initialised, or else the only one.

    Raises:
        UsageError: values that mean nothing, or several processes and nothing says which this is.
    """

    def __init__(
        self,
        windows: TokenWindows,
        *,
        batch_size: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        even: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._given = rank is not None
        rank, world_size = rank_of(rank, world_size)
        self.windows = windows
        self.schedule = Schedule(
            windows=len(windows),
            shuffle=shuffle,
            seed=seed,
            batch=batch_size,
            even=even,
            rank=rank,
            world_size=world_size,
        )
        self._progress = Progress(windows.windows.fingerprint)
        self._taken = 0  # batches of this epoch that this very object gave

    def __len__(self) -> int:
        """Batches of this rank that are left of the epoch."""
        return self.schedule.items(self._progress.done)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; call it before each. Workers that live on see it, too."""
        self._progress.begin(epoch)
        self._taken = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self._given:
            require_rank(self.schedule.rank, self.schedule.world_size)
        worker = get_worker_info()
        first, every = (0, 1) if worker is None else (worker.id, worker.num_workers)
        epoch, done = self._progress.epoch, self._progress.done
        order = self.schedule.order(epoch)
        self._taken = 0
        for number in range(first, self.schedule.items(done), every):
            chosen = self.schedule.item(order, done, number)
            batch = tensors_of([self.windows.windows[int(one)] for one in chosen])
            self._taken = number + 1
            yield batch

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """For a checkpoint; `load_state_dict` goes on behind it, with any number of workers and
        ranks.

        Args:
            taken: batches that this rank was trained on since `set_epoch` or `load_state_dict`.
                None: as many as this object gave, which is so only without workers: they read
                ahead.
        """
        return self._progress.state(self.schedule, self._taken if taken is None else taken)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state` was taken. UsageError: it is of other windows or orders."""
        self._progress.load(self.schedule, state)
        self._taken = 0
