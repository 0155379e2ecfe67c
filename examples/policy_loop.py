"""Frames to tokens to a policy: the loop of a robot, with a test picture in place of its camera.

python examples/policy_loop.py BUNDLE [FRAMES]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.sources.synthetic import SyntheticSource


class Policy:
    """Stands for yours: it looks up an embedding of each token and averages them."""

    def __init__(self, codebook_size: int, actions: int = 7) -> None:
        self._table = np.random.default_rng(0).normal(size=(codebook_size, actions))

    def act(self, tokens: NDArray[np.int32]) -> NDArray[np.float64]:
        """[actions] from tokens [h, w]."""
        action: NDArray[np.float64] = self._table[tokens].mean(axis=(0, 1))
        return action


def main(path: str, frames: int = 32) -> None:
    bundle = Bundle.load(path)
    manifest = bundle.manifest
    policy = Policy(manifest.model.codebook_size)
    camera = SyntheticSource((manifest.height, manifest.width), fps=30)
    with bundle.encoder() as encoder:
        print(f"{encoder.backend}; a latent every {manifest.model.time_factor} frames")
        for frame in camera:
            for latents in encoder.push(frame.pixels, capture_time_ns=frame.capture_time_ns):
                assert latents.tokens is not None, "a KL bundle has latents.mean instead"
                action = policy.act(latents.tokens[-1])
                waited_ms = (time.monotonic_ns() - int(latents.capture_time_ns[-1])) / 1e6
                print(f"latent {latents.index}: action {action[:3].round(3)}, {waited_ms:.1f} ms")
            if frame.number + 1 >= frames:
                break


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
