"""Recordings made for tests: small cameras, whose tokens say which source and latent they are."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stamps import span, stamp

from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.format.mcap_file import Code, Compression
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.records import SourceRecords

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
    at_ns: int | None = None,
    wall_jump_ns: int = 0,
    tokenizer: Tokenizer = FSQ,
    holds: int | None = None,
) -> Latents:
    """Latents `index` on.

    Args:
        last: real frames of the last one.
        at, at_ns: when the first one was captured, in latents or in ns; else by its index.
        wall_jump_ns: of the wall clock, against `WALL` at time 0.
        holds: the first one has the values of the latent of this index; None: its own.
    """
    first = index if holds is None else holds
    values = np.stack([values_of(source, first + i, tokenizer) for i in range(count)])
    start_ns = (index if at is None else at) * PER_LATENT if at_ns is None else at_ns
    spans = []
    for i in range(count):
        share = tokenizer.framing.share(index + i)
        real = len(share) if i < count - 1 else min(last, len(share))
        taken = stamp(start_ns + i * PER_LATENT, WALL + wall_jump_ns)
        spans.append(span(share.start, real, taken))
    fsq = tokenizer.latent == "fsq"
    return Latents(
        slot=0,
        index=index,
        tokens=values if fsq else None,
        mean=None if fsq else values,
        logvar=None if fsq else values,
        spans=tuple(spans),
    )


def write(writer: RecordingWriter, camera: SourceRecords, given: Latents) -> None:
    """Give latents to a writer as a session does, encoded 10 ms after the last one's capture."""
    end = given.spans[-1].last.capture_time_ns + SECOND // 100
    for record in camera.encoded(given, encode_start_ns=end - 5, encode_end_ns=end):
        writer.take(record)
    writer.tick(time.monotonic_ns())


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
    compression: Compression = "none",  # tests change bytes of it
    code: Code = "packed",
) -> Path:
    """A recording of `count` latents per source, a chunk of the file every `chunk` latents.

    `key`: a new stream every so many latents. `end` False: without end markers.
    """
    names = [f"rtsp://me:secret@cam{n}/live" for n in range(sources)]
    with RecordingWriter(
        path,
        tokenizer,
        names,
        flush_interval_s=1000,
        compression=compression,
        code=code,
        force=force,
    ) as writer:
        cameras = [SourceRecords(source) for source in range(sources)]
        for camera in cameras:
            writer.take(camera.start("start", 0, WALL, fps=fps))
        for i in range(count):
            for camera in cameras:
                if key and i and i % key == 0:
                    at = i * PER_LATENT - 1
                    writer.take(camera.start("key", at, WALL + at))
                index = i % key if key else i
                write(writer, camera, latents(camera.source, index, at=i, tokenizer=tokenizer))
            if i % chunk == chunk - 1:
                writer.flush()
        for camera in cameras:
            if end:
                at = count * PER_LATENT
                writer.take(camera.end("the file ended", at, WALL + at))
    return path
