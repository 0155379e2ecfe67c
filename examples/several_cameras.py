"""Cameras of different rates in one batch: each has a slot, and none waits longer than 50 ms.

python examples/several_cameras.py BUNDLE [SECONDS]
"""

from __future__ import annotations

import sys
import time

from vidtok_edge.runtime import Bundle, Latents
from vidtok_edge.runtime.sources.synthetic import SyntheticSource
from vidtok_edge.runtime.streaming.batching import Batching


def main(path: str, seconds: float = 2.0) -> None:
    bundle = Bundle.load(path)
    manifest = bundle.manifest
    size = (manifest.height, manifest.width)
    rates = [30.0 / (slot + 1) for slot in range(manifest.streams)]
    cameras = [iter(SyntheticSource(size)) for _ in rates]
    due_s = [0.0 for _ in rates]
    counts = [0 for _ in rates]

    def take(results: list[Latents]) -> None:
        for latents in results:  # of any slot
            counts[latents.slot] += len(latents)

    with bundle.encoder() as encoder:
        batching = Batching(encoder, wait_s=0.05)
        start = time.monotonic()
        while (now_s := time.monotonic() - start) < seconds:
            slot = min(range(len(due_s)), key=lambda slot: due_s[slot])
            until_s = batching.due_in_s()  # a chunk that is complete may wait for the others
            wait_s = due_s[slot] - now_s
            time.sleep(max(0.0, wait_s if until_s is None else min(wait_s, until_s)))
            take(batching.run_due())
            if time.monotonic() - start >= due_s[slot]:
                take(batching.push(next(cameras[slot]).pixels, slot=slot))
                due_s[slot] += 1 / rates[slot]
        for slot in range(manifest.streams):
            take(batching.finish(slot))
    for slot, (rate, count) in enumerate(zip(rates, counts, strict=True)):
        print(f"camera {slot}: {rate:g} frames per second, {count} latents")


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:3]))
