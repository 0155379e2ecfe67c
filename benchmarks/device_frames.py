"""Frames that are on the GPU already, tokens that stay there, and what a push costs the host.

    python benchmarks/device_frames.py BUNDLE result.json --backend tensorrt --precision fp16
    python benchmarks/device_frames.py BUNDLE result.json --backend cpu --calls 3   # without a GPU

The same stream as NumPy frames and as PyTorch tensors of the device, read through DLPack: tokens
must be equal. Tokens that stay on the device are read by PyTorch without a copy and must be equal
too, as must those of frames in memory that host and GPU share. Then the time of a latent's pushes
beyond the step itself, and frames per second: with one and with two calls under way, and in each
kind of memory. Exits 1 where tokens differ.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.lowering.torch_cuda import require_torch_cuda
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.cuda import load_cuda
from vidtok_edge.runtime.backends.engines.memory import Memory, served

CHECKED = 6
"""Latents that are compared."""
Place = Literal["host", "device"]
Way = tuple[Place, int, Memory | None]
"""Where frames are, how many calls are under way, where the engine has its frames and tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One way to give frames; medians in milliseconds over the latents of a stream."""

    frames_on: Place
    depth: int
    memory: str
    """Of the engine's frames and tokens; empty on a CPU."""
    frames_per_s: float
    latent_ms: float
    """From the first push of a latent's frames to its tokens; of two depths it says little."""
    step_ms: float
    """Upload, computation and download, between marks on the device."""
    host_ms: float
    """What is left: copies of the host, Python, waiting for the device to tell."""


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--backend", default="tensorrt", show_default=True)
@click.option("--precision", default="fp16", show_default=True)
@click.option("--calls", default=300, type=click.IntRange(1), show_default=True, help="Timed.")
def main(bundle: Path, out: Path, backend: str, precision: str, calls: int) -> None:
    try:
        if backend != "cpu":
            require_torch_cuda()
        for result in measured(Bundle.load(bundle), backend, precision, calls):
            text = json.dumps({"device_frames": result}, indent=1)
            out.write_text(text + "\n", encoding="utf-8")  # each time: it may be cut off
    except VidTokEdgeError as error:
        raise click.ClickException(str(error)) from None
    click.echo(text)
    sys.exit(0 if result["equal"] else 1)


def measured(
    bundle: Bundle, backend: str, precision: str, calls: int
) -> Iterator[Mapping[str, Any]]:
    """Whether each way gives the tokens of NumPy frames, and how fast it is.

    What is known after memory of the device, and again after each kind that host and GPU share.
    """
    device = "cpu" if backend == "cpu" else "cuda"
    manifest = bundle.manifest
    size = (manifest.height, manifest.width, 3)
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, size, np.uint8) for _ in range(manifest.chunk_frames * 4)]
    lent = [torch.from_numpy(frame).to(device) for frame in frames]
    count = manifest.chunk_frames * CHECKED
    wanted = tokens_of(bundle, backend, precision, taken(frames, count), "host")
    checks = {
        "frames on the device": tokens_of(bundle, backend, precision, taken(lent, count), "host"),
        "frames and tokens on the device": tokens_of(
            bundle, backend, precision, taken(lent, count), "device"
        ),
        "both kinds of frames in turn": tokens_of(
            bundle,
            backend,
            precision,
            (frames[i % len(frames)] if i % 3 else lent[i % len(lent)] for i in range(count)),
            "host",
        ),
    }
    equal = {name: same(found, wanted) for name, found in checks.items()}
    first = None if backend == "cpu" else Memory.DEVICE
    ways: list[Way] = [("host", 1, first), ("device", 1, first), ("host", 2, first)]
    speeds = [
        speed(bundle, backend, precision, frames if way[0] == "host" else lent, way, calls)
        for way in ways
    ]

    def result() -> dict[str, Any]:
        return {
            "backend": backend,
            "precision": precision,
            "device": torch.cuda.get_device_name(0) if device == "cuda" else "CPU",
            "equal": all(equal.values()) and len({found.tobytes() for found in wanted}) > 1,
            "checks": equal,
            "speeds": [asdict(one) for one in speeds],
        }

    yield result()
    for memory in shared_here(backend):
        found = tokens_of(bundle, backend, precision, taken(frames, count), "host", memory)
        equal[f"frames and tokens in {memory} memory"] = same(found, wanted)
        speeds.append(speed(bundle, backend, precision, frames, ("host", 1, memory), calls))
        yield result()


def shared_here(backend: str) -> list[Memory]:
    """The kinds of memory that host and GPU can share; none on a CPU."""
    if backend == "cpu":
        return []
    return [memory for memory in served(load_cuda(Target.named(backend))) if memory.shared]


def taken(frames: list[Any], count: int) -> Iterable[Any]:
    """`count` frames, the first again after the last."""
    return (frames[i % len(frames)] for i in range(count))


def same(found: list[NDArray[np.int32]], wanted: list[NDArray[np.int32]]) -> bool:
    return len(found) == len(wanted) and all(map(np.array_equal, found, wanted))


def tokens_of(
    bundle: Bundle,
    backend: str,
    precision: str,
    frames: Iterable[Any],
    tokens_on: Place,
    memory: Memory | None = None,
) -> list[NDArray[np.int32]]:
    """The tokens of a stream; those that stay on the device are read by PyTorch at once."""
    found = []
    with bundle.encoder(
        backend, precision=precision, tokens_on=tokens_on, memory=memory
    ) as encoder:
        for frame in frames:
            for latents in encoder.push(frame):
                tokens = latents.tokens
                if tokens_on == "device":
                    tokens = from_dlpack(tokens).cpu().numpy().copy()
                found.append(np.asarray(tokens))
    return found


def speed(
    bundle: Bundle,
    backend: str,
    precision: str,
    frames: list[Any],
    way: Way,
    calls: int,
) -> Speed:
    """Of `calls` latents after a tenth as many that are not counted."""
    frames_on, depth, memory = way
    chunk, warmup = bundle.manifest.chunk_frames, max(2, calls // 10)
    with bundle.encoder(backend, precision=precision, depth=depth, memory=memory) as encoder:
        walls, steps, number = [], [], 0
        begin = time.perf_counter()
        for call in range(warmup + calls):
            if call == warmup:
                begin = time.perf_counter()
            first, before = time.perf_counter(), encoder.step_times.total_ns
            for _ in range(chunk):
                encoder.push(frames[number % len(frames)])
                number += 1
            if call >= warmup:
                walls.append((time.perf_counter() - first) * 1e3)
                steps.append((encoder.step_times.total_ns - before) / 1e6)
        encoder.run_pending()
        whole = time.perf_counter() - begin
    latent, step = statistics.median(walls), statistics.median(steps)
    return Speed(
        frames_on=frames_on,
        depth=depth,
        memory=encoder.backend.memory,
        frames_per_s=round(calls * chunk / whole, 1),
        latent_ms=round(latent, 4),
        step_ms=round(step, 4),
        host_ms=round(latent - step, 4),
    )


if __name__ == "__main__":
    main()
