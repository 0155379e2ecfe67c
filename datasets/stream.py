"""An iterable PyTorch dataset: the windows of an epoch in their order, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from vidtok_edge.datasets.progress import Progress
from vidtok_edge.datasets.ranks import rank_of, require_rank
from vidtok_edge.datasets.schedule import Schedule
from vidtok_edge.datasets.token_windows import TokenWindows, tensors_of
from vidtok_edge.errors import UsageError

__all__ = ["TokenStream"]


class TokenStream(IterableDataset[dict[str, Any]]):
    """Batches of windows, each window once in an epoch over all workers and ranks.

    For example::

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
        self._next = 0  # of a worker, whose state a StatefulDataLoader asks for
        self._resumed: int | None = None  # of a worker that goes on: what it is to begin with

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
        if worker is not None:
            self._progress.read_by_a_worker()
        if self._resumed is not None:
            first, self._resumed = self._resumed, None
        self._taken, self._next = 0, first
        return self._batches(self._progress.epoch, self._progress.done, first, every)

    def _batches(self, epoch: int, done: int, first: int, every: int) -> Iterator[dict[str, Any]]:
        order = self.schedule.order(epoch)
        for number in range(first, self.schedule.items(done), every):
            chosen = self.schedule.item(order, done, number)
            batch = tensors_of([self.windows.windows[int(one)] for one in chosen])
            self._taken, self._next = number + 1, number + every
            yield batch

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """For a checkpoint; `load_state_dict` goes on behind it, with any number of workers and
        ranks.

        Args:
            taken: batches that this rank was trained on since `set_epoch` or `load_state_dict`.
                None: as many as this object gave, which is so only without workers: they read
                ahead. In a worker, where a StatefulDataLoader of torchdata asks for it: where this
                very worker goes on.

        Raises UsageError: workers read, and `taken` is not given.
        """
        worker = get_worker_info()
        if taken is None and worker is not None:
            due = self._next if self._resumed is None else self._resumed
            own = {"worker": worker.id, "workers": worker.num_workers, "next": due}
            return {**self._progress.state(self.schedule, 0), **own}
        if taken is None and self._progress.by_workers:
            raise UsageError(
                "Workers read this stream, ahead of what was trained on. Say how many batches that "
                "was since set_epoch or load_state_dict: state_dict(taken)."
            )
        return self._progress.state(self.schedule, self._taken if taken is None else taken)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state` was taken.

        Raises UsageError: it is of other windows or orders; or it is a worker's, and this is not
        the same one of as many.
        """
        state, worker = dict(state), get_worker_info()
        own = [state.pop(name) for name in ("worker", "workers", "next") if name in state]
        here = None if worker is None else [worker.id, worker.num_workers]
        if (own[:2] or None) != here:
            raise UsageError(
                f"The state is that of {_worker(own)}, and this is {_worker(here or [])}. Give a "
                "StatefulDataLoader as many workers as before, or the state of the stream itself "
                "to the stream."
            )
        self._progress.load(self.schedule, state)
        self._taken = 0
        self._resumed = own[2] if own else None


def _worker(own: Sequence[Any]) -> str:
    return f"worker {own[0]} of {own[1]}" if own else "no worker"
