"""Recordings to which things happen: a camera, and a robot that says its own time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from recordings import FSQ, PER_LATENT, SECOND, WALL, latents, write

from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

__all__ = ["RUNS", "eventful"]

RUNS = [2, 2, 2, 3, 4]
"""Latents between which nothing happened, of `eventful`, in order."""


def eventful(path: Path, *, tokenizer: Tokenizer = FSQ, sources: int = 1, fps: float = 40) -> Path:
    """Drops, keys, a lost camera; `action` is the time of each sample in seconds and its opposite.

    Every latent of the recording holds what `values_of(source, n)` gives, n counting from its
    beginning.
    """
    names = [f"cam{n}" for n in range(sources)]
    per_latent = round(PER_LATENT * 40 / fps)
    with RecordingWriter(path, tokenizer, names, flush_interval_s=1000) as writer:
        cameras = [SourceRecords(source) for source in range(sources)]
        at = index = 0

        def tell(kind: str, *given: Any, **named: Any) -> None:
            now = max(0, at * per_latent - 1)
            for camera in cameras:
                writer.take(getattr(camera, kind)(*given, now, WALL + now, **named))

        def see(count: int) -> None:
            nonlocal at, index
            for _ in range(count):
                for camera in cameras:
                    given = latents(
                        camera.source, index, at_ns=at * per_latent, tokenizer=tokenizer, holds=at
                    )
                    write(writer, camera, given)
                _log(writer, at * per_latent)
                at, index = at + 1, index + 1
            writer.flush()

        def begin(reason: str) -> None:
            nonlocal index
            tell("start", reason, fps=fps)
            index = 0

        begin("start")
        see(2)
        begin("key")
        see(2)
        tell("drop", 3, "continue", index=index)
        see(2)
        tell("drop", 7, "restart", index=index)
        begin("restart")
        see(3)
        tell("lost", "unplugged")
        begin("reconnect")
        see(4)
        tell("end", "over")
    return path


def _log(writer: RecordingWriter, at_ns: int) -> None:
    values = np.array([at_ns / SECOND, -at_ns / SECOND])
    sample = Sample(channel="action", time_ns=at_ns, wall_time_ns=WALL + at_ns, values=values)
    writer.log(sample, ("s", "minus_s"))
    grip = Sample(channel="arm/grip", time_ns=at_ns, wall_time_ns=WALL + at_ns, values=values[:1])
    writer.log(grip)
