"""Watching changes nothing of what is recorded, and shows all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_sources import FakeSource, frame
from fake_step import FakeStep, fake_manifest, frame_of
from fake_writer import MS, FakeWriter

from vidtok_edge.runtime import StreamEncoder
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, ShownLatent, ShownNote
from vidtok_edge.runtime.viewing.watched import WatchedSource, WatchedWriter, Watching


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
    manifest = fake_manifest(**kind)
    encoder = StreamEncoder(manifest, FakeStep(manifest, "encoder"))
    plain, inner = FakeWriter(), FakeWriter()
    watched = WatchedWriter(inner, encoder.framing, 1, watching)
    results = [
        r
        for length in (23, 6)
        for r in [
            *(x for v in range(length) for x in encoder.push(frame_of(v), capture_time_ns=v * MS)),
            *encoder.finish(),
        ]
    ]
    for latents in results:
        for writer in (plain, watched):
            if latents.index == 0:
                writer.start(0, "start", 0, 0)
            writer.write(
                0,
                latents,
                wall_time_ns=[1] * len(latents),
                encode_start_ns=0,
                encode_end_ns=50 * MS,
            )
    assert inner.log == plain.log
    found = [what for what in shown if isinstance(what, ShownLatent)]
    assert [what.values.tolist() for what in found] == [
        value.tolist() for latents in results for value in latents.values
    ]
    for stream, length in enumerate((23, 6)):
        mine = [what for what in found if what.stream == stream]
        assert [what.index for what in mine] == list(range(len(mine)))
        times = [t for what in mine for t in what.frame_times_ns]
        wanted = [watching.time_ns(v * MS) for v in range(length)]
        np.testing.assert_allclose(times, wanted, rtol=0, atol=1000)
        for what in mine:
            assert what.latency_ms == 50 - (what.time_ns - watching.time_ns(0)) / MS


def test_markers_are_written_and_shown(watching: Watching, shown: list[Shown]) -> None:
    inner = FakeWriter()
    watched = WatchedWriter(
        inner,
        StreamEncoder(fake_manifest(), FakeStep(fake_manifest(), "encoder")).framing,
        2,
        watching,
    )
    watched.start(1, "reconnect", MS, 0, fps=5)
    watched.drop(1, 3, "continue", 2 * MS, 0)
    watched.lost(1, "unplugged", 3 * MS, 0)
    watched.end(0, "ended", 4 * MS, 0)
    watched.tick(0)
    assert inner.ticks == 1
    assert inner.log == [
        (1, "reconnect", 1),
        (1, "drop", 3, "continue"),
        (1, "lost", "unplugged"),
        (0, "end", "ended"),
    ]
    notes = [what for what in shown if isinstance(what, ShownNote)]
    assert [(n.source, n.text, n.warning) for n in notes] == [
        (1, "reconnect", False),
        (1, "drop: 3 frames, continue", True),
        (1, "lost: unplugged", True),
        (0, "end: ended", False),
    ]
    assert [n.time_ns - watching.time_ns(0) for n in notes] == [MS, 2 * MS, 3 * MS, 4 * MS]


def test_what_cannot_be_written_is_not_shown(watching: Watching, shown: list[Shown]) -> None:
    watched = WatchedWriter(
        FakeWriter(fail_at=0),
        StreamEncoder(fake_manifest(), FakeStep(fake_manifest(), "encoder")).framing,
        1,
        watching,
    )
    with pytest.raises(Exception, match="full"):
        watched.start(0, "start", 0, 0)
    assert not shown
