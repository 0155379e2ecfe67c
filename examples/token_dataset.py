"""A recording as a PyTorch dataset: windows of latents between which no time was left out.

python examples/token_dataset.py RECORDING [LATENTS]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.recording.exports.episodes import episodes
from vidtok_edge.runtime.streaming.records import LatentRecord


class TokenWindows(Dataset[torch.Tensor]):
    """Windows of `length` latents, int64 [length, h, w]; none crosses a drop, gap or restart."""

    def __init__(self, path: str, length: int, source: int = 0) -> None:
        self._windows: list[Sequence[LatentRecord]] = []
        with Recording.open(path) as recording:
            recording.source(source)
            for episode in episodes(recording):
                run: list[LatentRecord] = []
                for row in episode.rows:
                    run = [*run[1 - length :], row.latent] if length > 1 else [row.latent]
                    if len(run) == length and episode.source.number == source:
                        self._windows.append(run)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, number: int) -> torch.Tensor:
        values = np.stack([latent.values for latent in self._windows[number]])
        return torch.from_numpy(values.astype(np.int64))


def main(path: str, length: int = 4) -> None:
    windows = TokenWindows(path, length)
    print(f"{len(windows)} windows of {length} latents")
    for batch in DataLoader(windows, batch_size=2, shuffle=True):
        print(f"batch {list(batch.shape)} {batch.dtype}")
        break


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
