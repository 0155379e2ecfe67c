"""Batches of windows, as tests of streams compare them; also in processes that they start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from recordings import FSQ
from torch.utils.data import DataLoader

from vidtok_edge.datasets import TokenStream, TokenWindows

__all__ = ["firsts", "flat", "loaded", "train"]


def firsts(batches: Iterable[dict[str, Any]]) -> list[list[int]]:
    """Which windows are in each batch, by the latent that they begin with."""
    found = []
    for batch in batches:
        assert batch["tokens"].shape == (len(batch["first"]), 2, *FSQ.shape)
        found.append(batch["first"].tolist())
    return found


def flat(batches: list[list[int]]) -> list[int]:
    return [first for batch in batches for first in batch]


def loaded(stream: TokenStream, workers: int, **given: Any) -> DataLoader[dict[str, Any]]:
    if workers:
        given.setdefault("multiprocessing_context", "fork")
    return DataLoader(stream, batch_size=None, num_workers=workers, **given)


def train(rank: int, world_size: int, path: str, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size
    )
    stream = TokenStream(TokenWindows(path, length=2), batch_size=2)
    torch.save(flat(firsts(loaded(stream, 2))), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
