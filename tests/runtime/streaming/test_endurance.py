"""Ten thousand chunks through a graph into a recording: memory and latency stay as they were."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.sources import ArraySource, Captures
from vidtok_edge.runtime.streaming.records import LatentRecord, Record

CHUNKS = 10_000


class WatchedWriter(RecordingWriter):
    """Notes, for every latent, what time and memory the process had used."""

    def __init__(self, path: Path, bundle: Bundle) -> None:
        super().__init__(path, Tokenizer.of(bundle), ["arrays"])
        self.count = 0
        self.times_ns = np.zeros(CHUNKS, np.int64)  # lists would grow while memory is measured
        self.resident = np.zeros(CHUNKS, np.int64)

    def take(self, record: Record) -> None:
        super().take(record)
        if not isinstance(record, LatentRecord):
            return
        self.times_ns[self.count] = time.process_time_ns()  # the machine may have other work
        self.resident[self.count] = resident_bytes()
        self.count += 1


def resident_bytes() -> int:
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_10_000_chunks(tiny: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(tiny)
    frame = np.zeros((16, 16, 3), np.uint8)  # the tiny graph adds up what it sees
    source = partial(ArraySource, repeat(frame, 1 + 4 * (CHUNKS - 1)), (16, 16))
    writer = WatchedWriter(tmp_path / "a.mcap", bundle)
    with (
        writer,
        bundle.encoder("cpu", threads=1) as encoder,
        Captures([source], policy="block") as captures,
    ):
        done = Recorder(captures, encoder, [writer], ["arrays"]).run()
    assert done.sources[0].latents == CHUNKS == writer.count
    tenth = CHUNKS // 10
    resident = writer.resident[tenth:]
    # 9,000 chunks that each kept one of their frames would be 7 MB.
    assert resident[-tenth:].mean() - resident[:tenth].mean() < 4 << 20
    steps = np.diff(writer.times_ns)
    first, last = np.median(steps[tenth : 2 * tenth]), np.median(steps[-tenth:])
    assert last < 2 * first, "a step must not get slower with the number of steps before it"
