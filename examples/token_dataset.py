"""A recording as a PyTorch dataset: windows of consecutive latents of one stream.

python examples/token_dataset.py RECORDING [LATENTS]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.streaming.records import LatentRecord


class TokenWindows(Dataset[torch.Tensor]):
    """Windows of `length` latents, int64 [length, h, w]; none crosses a gap or a restart."""

    def __init__(self, path: str, length: int, source: int = 0) -> None:
        self._windows: list[Sequence[LatentRecord]] = []
        run: list[LatentRecord] = []
        with Recording.open(path) as recording:
            for entry in recording.entries(source):
                if not isinstance(entry, LatentRecord):
                    continue
                follows = run and (entry.stream, entry.index) == (run[-1].stream, run[-1].index + 1)
                run = [*run[1 - length :], entry] if follows else [entry]
                if len(run) == length:
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
