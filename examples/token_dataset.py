"""A recording as a PyTorch dataset: windows of latents between which no time was left out.

python examples/token_dataset.py RECORDING [LATENTS]

RECORDING may be a folder that export-recording wrote, too. What the robot did beside each latent
is in batch["data"].
"""

from __future__ import annotations

import sys

from torch.utils.data import DataLoader

from vidtok_edge.datasets import TokenStream, TokenWindows


def main(path: str, length: int = 4) -> None:
    windows = TokenWindows(path, length=length)
    print(f"{len(windows)} windows of {length} latents")
    stream = TokenStream(windows, batch_size=2, seed=0)
    for batch in DataLoader(stream, batch_size=None):
        print(f"batch {list(batch['tokens'].shape)} {batch['tokens'].dtype}")
        break


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
