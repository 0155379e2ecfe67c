"""Recordings made for tests: small cameras, whose tokens say which source and latent they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.streaming.latents import Latents

__all__ = ["FSQ", "KL", "SECOND", "WALL", "latents", "record", "values_of", "write"]

FSQ = Tokenizer(
    variant="fsq",
    weights_sha256="ab" * 32,
    precision="fp32",
    height=16,
    width=24,
    grid_height=2,
    grid_width=3,
    time_factor=4,
    causal=True,
    latent="fsq",
    levels=(8, 8, 8, 8, 8),
    z_channels=5,
    toolkit_version="1",
)
KL = replace(
    FSQ,
    variant="kl",
    weights_sha256="cd" * 32,
    precision="fp16",
    latent="kl",
    levels=(),
    z_channels=2,
)
SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND
PER_LATENT = SECOND // 10  # 4 frames: 40 frames per second


def values_of(source: int, index: int, tokenizer: Tokenizer = FSQ) -> NDArray[Any]:
    """What latent `index` of `source` holds."""
    rng = np.random.default_rng([source, index])
    if tokenizer.latent == "fsq":
        return rng.integers(0, tokenizer.codebook_size, tokenizer.shape, dtype=np.int32)
    return rng.normal(size=tokenizer.shape).astype(np.float16).astype(np.float32)


def latents(
    source: int,
    index: int,
    *,
    count: int = 1,
    last: int = 4,
    at: int | None = None,
    tokenizer: Tokenizer = FSQ,
) -> Latents:
    """Latents `index` on; `last`: real frames of the last one; `at`: its place in time."""
    values = np.stack([values_of(source, index + i, tokenizer) for i in range(count)])
    framing = tokenizer.framing
    first = framing.first_frame(index)
    real = framing.first_frame(index + count) - first
    share = framing.first_frame(index + count) - framing.first_frame(index + count - 1)
    fsq = tokenizer.latent == "fsq"
    stamps = (np.arange(count) + (index if at is None else at)) * PER_LATENT
    return Latents(
        0,
        index,
        values if fsq else None,
        None if fsq else values,
        None if fsq else values,
        first,
        real - max(0, share - last),
        stamps,
    )


def write(writer: RecordingWriter, source: int, given: Latents, *, wall_jump_ns: int = 0) -> None:
    """Give latents to a writer, at the wall time that goes with their capture time."""
    walls = [WALL + int(t) + wall_jump_ns for t in given.capture_time_ns]
    end = int(given.capture_time_ns[-1]) + SECOND // 100
    writer.write(source, given, wall_time_ns=walls, encode_start_ns=end - 5, encode_end_ns=end)


def record(
    path: Path,
    count: int = 30,
    *,
    sources: int = 2,
    tokenizer: Tokenizer = FSQ,
    chunk: int = 5,
    key: int | None = None,
    end: bool = True,
    force: bool = False,
    fps: float = 40,
) -> Path:
    """A recording of `count` latents per source, a chunk of the file every `chunk` latents.

    `key`: a new stream every so many latents. `end` False: without end markers.
    """
    names = [f"rtsp://me:secret@cam{n}/live" for n in range(sources)]
    with RecordingWriter(path, tokenizer, names, flush_interval_s=1000, force=force) as writer:
        for source in range(sources):
            writer.start(source, "start", 0, WALL, fps=fps)
        for i in range(count):
            for source in range(sources):
                if key and i and i % key == 0:
                    at = i * PER_LATENT - 1
                    writer.start(source, "key", at, WALL + at)
                index = i % key if key else i
                write(writer, source, latents(source, index, at=i, tokenizer=tokenizer))
            if i % chunk == chunk - 1:
                writer.flush()
        for source in range(sources):
            if end:
                writer.end(source, "the file ended", count * PER_LATENT, WALL + count * PER_LATENT)
    return path
