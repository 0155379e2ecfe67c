"""A map-style PyTorch dataset: window i of recordings and exported sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from vidtok_edge.datasets.opening import stores_of
from vidtok_edge.datasets.windows import Window, Windows
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.set_facts import SetFacts

__all__ = ["TokenWindows", "tensors_of"]


class TokenWindows(Dataset[dict[str, Any]]):
    """Windows of `length` latents; none reaches over a drop, gap, key, episode or other camera.

    For example::

        windows = TokenWindows("drive.mcap", length=16)
        windows[0]["tokens"]            # int64 [16, h, w]
        windows[0]["data"]["action"]    # float32 [16, d]

    Of the latents themselves only a few blocks are in memory; of each latent its time and what data
    channels have for it are. It can be given to the workers of a DataLoader, forked or spawned.

    Each item has `tokens` int64 [N, h, w], or `latent` float32 [N, z, h, w] of KL; `data`, of each
    channel float32 [N, d]; and `run` and `first`, int64: which run, and which latent of it.

    Args:
        paths: recordings (.mcap), lists of parts (NAME.index.json), and folders that
            `export-recording` wrote; one, or several together.
        length: N, latents of a window.
        stride: latents from where one begins to where the next does.
        source: which camera, in each; None: all.
        data: which channels go along, and how. None: all, of recordings each with its last sample;
            latents that lack a value are in no window. Of exported sets the values are those that
            the export chose.
        cache_bytes: of blocks of latents that stay in memory, in each process.

    Raises:
        DatasetError: one of them cannot be read, is of another grid, tokenizer, rate or of other
            channels than the others, or there is no window.
        RecordingError: a recording that cannot be read.
        UsageError: values that mean nothing, or an alignment that a set was not exported with.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        length: int,
        stride: int = 1,
        source: int | None = None,
        data: DataRequest | None = None,
        cache_bytes: int = 64 << 20,
    ) -> None:
        self.stores = stores_of(paths, source=source, data=data)
        self.windows = Windows(
            runs=[run for store in self.stores for run in store.runs()],
            length=length,
            stride=stride,
            cache_bytes=cache_bytes,
        )

    @property
    def facts(self) -> SetFacts:
        """The tokenizer, latents per second and channels of all."""
        return self.windows.runs[0].facts

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Read window `number`. Raises DatasetError: its file changed or is damaged."""
        return tensors_of([self.windows[number]], single=True)

    def close(self) -> None:
        """Close all files; they are opened again where something is read."""
        for store in self.stores:
            store.close()


def tensors_of(windows: Sequence[Window], *, single: bool = False) -> dict[str, Any]:
    """A batch [B, N, ...] of windows; `single`: the only one, without the first axis."""
    tokens = windows[0].values.ndim == 3
    values = np.stack([window.values for window in windows])
    values = values.astype(np.int64 if tokens else np.float32)
    beside = {
        name: torch.from_numpy(np.stack([window.data[name] for window in windows]))
        for name in windows[0].data
    }
    batch = {
        "tokens" if tokens else "latent": torch.from_numpy(values),
        "run": torch.tensor([window.run for window in windows]),
        "first": torch.tensor([window.first for window in windows]),
    }
    if not single:
        return {**batch, "data": beside}
    data = {name: tensor[0] for name, tensor in beside.items()}
    return {**{name: tensor[0] for name, tensor in batch.items()}, "data": data}
