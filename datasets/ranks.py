"""Which of several training processes this is."""

from __future__ import annotations

import os

import torch.distributed

from vidtok_edge.errors import UsageError

__all__ = ["rank_of", "require_rank"]


def rank_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, else as `torch.distributed` says, else those of one process.

    Raises UsageError: only one of the two is given; or several processes were launched
    (`WORLD_SIZE`), and nothing says which this is: each would read everything.
    """
    if (rank is None) != (world_size is None):
        raise UsageError(
            f"Got rank {rank} and world size {world_size}; allowed: both, or neither. Give both."
        )
    if rank is not None and world_size is not None:
        return rank, world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    launched = os.environ.get("WORLD_SIZE", "1")
    if launched != "1":
        raise UsageError(
            f"WORLD_SIZE is {launched} and torch.distributed is not initialised, so every process "
            "would read every window. Call torch.distributed.init_process_group first, or give "
            "rank and world_size."
        )
    return 0, 1


def require_rank(rank: int, world_size: int) -> None:
    """Raise UsageError where torch.distributed says by now that this is another rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    now = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if now != (rank, world_size):
        raise UsageError(
            f"This is rank {now[0]} of {now[1]}, and was {rank} of {world_size} when the dataset "
            "was made. Make it after torch.distributed.init_process_group, or give rank and "
            "world_size."
        )
