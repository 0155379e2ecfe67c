"""Watching changes nothing of what is recorded, and shows all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_sink import MS
from fake_sources import FakeSource, frame
from fake_step import FakeStep, fake_manifest, frame_of

from vidtok_edge.runtime import StreamEncoder
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.streaming.records import SourceRecords
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, ShownLatent, ShownNote
from vidtok_edge.runtime.viewing.watched import ViewSink, WatchedSource, Watching


@pytest.fixture
def shown() -> list[Shown]:
    return []


@pytest.fixture
def watching(shown: list[Shown]) -> Watching:
    return Watching(shown.append)


def test_a_source_gives_what_it_gave(watching: Watching, shown: list[Shown]) -> None:
    source = FakeSource([3, 4, OSError("gone")], live=True, fps=12.5, name="cam")
    watched = WatchedSource(source, 2, watching)
    assert (watched.name, watched.live, watched.fps) == ("cam", True, 12.5)
    given: list[Frame] = []
    with pytest.raises(OSError, match="gone"):
        given.extend(watched)
    assert [f.capture_time_ns for f in given] == [3 * MS, 4 * MS]
    assert [type(what) for what in shown] == [ShownFrame] * 2
    for what, value in zip(shown, (3, 4), strict=True):
        assert isinstance(what, ShownFrame) and (what.source, what.kind) == (2, "frame")
        assert what.time_ns == watching.time_ns(value * MS)
        np.testing.assert_array_equal(what.pixels, frame(value).pixels)
    watched.close()
    assert source.closed.is_set()


@pytest.mark.parametrize("kind", [{}, {"chunk": 3}, {"causal": False, "chunk": 2}])
def test_latents_with_the_times_of_their_frames(
    kind: dict[str, Any], watching: Watching, shown: list[Shown]
) -> None:
    """Frames that come at no even pace: no time between two of them can be guessed."""
    manifest = fake_manifest(**kind)
    encoder = StreamEncoder(manifest, FakeStep(manifest, "encoder"))
    sink, camera = ViewSink(watching), SourceRecords(0)
    times_ns = [v * v * MS for v in range(23)]
    values: list[Any] = []
    for length in (23, 6):
        results = [
            r for v in range(length) for r in encoder.push(frame_of(v), capture_time_ns=times_ns[v])
        ]
        sink.take(camera.start("start", 0, 0))
        for latents in [*results, *encoder.finish()]:
            values += latents.values.tolist()
            for record in camera.encoded(latents, encode_start_ns=0, encode_end_ns=50 * MS):
                sink.take(record)
    found = [what for what in shown if isinstance(what, ShownLatent)]
    assert [what.values.tolist() for what in found] == values
    for stream, length in enumerate((23, 6)):
        mine = [what for what in found if what.stream == stream]
        assert [what.index for what in mine] == list(range(len(mine)))
        assert [t for what in mine for t in what.frame_times_ns] == [
            watching.time_ns(t) for t in times_ns[:length]
        ]
        for what in mine:
            assert what.time_ns == (what.frame_times_ns or mine[-1].frame_times_ns)[-1]
            assert what.latency_ms == 50 - (what.time_ns - watching.time_ns(0)) / MS


def test_markers_are_shown(watching: Watching, shown: list[Shown]) -> None:
    sink, front, rear = ViewSink(watching), SourceRecords(0), SourceRecords(1)
    sink.take(rear.start("reconnect", MS, 0, fps=5))
    sink.take(rear.drop(3, "continue", 2 * MS, 0))
    sink.take(rear.lost("unplugged", 3 * MS, 0))
    sink.take(front.end("ended", 4 * MS, 0))
    sink.tick(0, 0)
    notes = [what for what in shown if isinstance(what, ShownNote)]
    assert [(n.source, n.text, n.warning) for n in notes] == [
        (1, "reconnect", False),
        (1, "drop: 3 frames, continue", True),
        (1, "lost: unplugged", True),
        (0, "end: ended", False),
    ]
    assert [n.time_ns - watching.time_ns(0) for n in notes] == [MS, 2 * MS, 3 * MS, 4 * MS]
    assert sink.safe_bytes == 0
