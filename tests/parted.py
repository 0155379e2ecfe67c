"""Recordings in parts, written as a session does, without its encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fake_sources import FakeClock
from recordings import FSQ, PER_LATENT, SECOND, WALL, latents

from vidtok_edge.runtime.recording import RecordingWriter
from vidtok_edge.runtime.session.parted_file import PartedFile
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.parts_index import index_of
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

__all__ = ["parts_of", "recorded"]


def parts_of(output: Path) -> list[dict[str, Any]]:
    """What the list beside `output` says of each part."""
    found: list[dict[str, Any]] = json.loads(index_of(output).read_text())["parts"]
    return found


def recorded(
    output: Path,
    plan: PartsPlan,
    count: int,
    *,
    said: Callable[[str], None] = lambda text: None,
    after: Callable[[int, Path], None] = lambda number, output: None,
    bulk: int = 2000,
) -> Path:
    """`count` latents of a camera, with a sample of `bulk` values that do not compress each."""
    clock = FakeClock()
    writer = partial(
        RecordingWriter, tokenizer=FSQ, sources=["cam"], flush_interval_s=1000, force=False
    )
    rng = np.random.default_rng(0)
    file = PartedFile(output, writer, plan, said, clock=clock.clock)
    with file:
        camera, index = SourceRecords(0), 0
        for number in range(count):
            at_ns = number * PER_LATENT
            if not index:
                reason = "key" if number else "start"
                file.take(camera.start(reason, at_ns, WALL + at_ns, fps=40))  # type: ignore[arg-type]
            given = latents(0, index, at=number)
            for record in camera.encoded(given, encode_start_ns=at_ns, encode_end_ns=at_ns):
                file.take(record)
            values = rng.normal(size=bulk)
            file.log(
                Sample(channel="a", time_ns=at_ns, wall_time_ns=WALL + at_ns, values=values),
                [f"v{n}" for n in range(bulk)],
            )
            index += 1
            assert file._writer is not None
            file._writer.flush()
            clock.pass_s(PER_LATENT / SECOND)
            file.tick(clock.ns)
            if file.due(clock.ns):
                file.take(camera.end("goes on in the next part", at_ns, WALL + at_ns))
                camera, index = SourceRecords(0), 0
                file.end_part()
            after(number, output)
        file.take(camera.end("over", count * PER_LATENT, WALL + count * PER_LATENT))
    return output
