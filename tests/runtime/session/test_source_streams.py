"""The streams of sources: what is written of each, and that nothing is lost unsaid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from fake_session import WALL, FakeCaptures, captured, ended, opened, session, streams_of, tokens
from fake_sink import MS
from fake_sources import FakeClock, FakeSource
from stamps import stamp

from vidtok_edge.runtime.sources import Captured, Captures, Dropped, Event, Lost


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 12, 13, 14])
def test_each_latent_has_the_times_of_its_frames(frames: int, chunk: int, causal: bool) -> None:
    events = [opened(), *captured(*range(frames)), ended()]
    recorder, sink = session(FakeCaptures(*events), chunk=chunk, causal=causal)
    recorder.run()
    given = [stamp(value * MS, WALL) for value in range(frames)]
    assert [one for latent in sink.latents for one in latent.stamps] == given
    for latent in sink.latents:
        assert latent.frames_real == len(latent.stamps)
        assert latent.stamp == (latent.stamps or given)[-1]


def test_a_drop_that_the_stream_goes_on_over() -> None:
    events = [opened(), *captured(*range(6)), Dropped(0, 6 * MS, WALL, 3), *captured(9, 10, 11)]
    recorder, sink = session(FakeCaptures(*events, ended()))
    [source] = recorder.run().sources
    assert streams_of(sink) == [
        "start",
        tokens(*range(5)),
        ("drop", 3, "continue"),
        tokens(*range(6), 9, 10, 11)[2:],
        ("end", "ended"),
    ]
    assert (source.frames_captured, source.frames_encoded, source.frames_dropped) == (12, 9, 3)


def test_a_drop_is_marked_where_it_is() -> None:
    """Also where the latents before it wait for another source: latent 1 has frames 1 to 4."""
    events = [
        opened(0),
        opened(1),
        *captured(0, source=1),
        *captured(*range(5)),
        Dropped(0, 0, WALL, 3),
        *captured(8, 9),
        Dropped(0, 0, WALL, 1),
    ]
    recorder, sink = session(FakeCaptures(*events, ended(0), ended(1)), streams=2)
    recorder.run()
    assert streams_of(sink)[:3] == ["start", tokens(0), ("drop", 3, "continue")]
    assert [marker.index for marker in sink.markers if marker.kind == "drop"] == [2, 2]


def test_a_sink_is_told_how_long_a_step_takes() -> None:
    time_ = FakeClock(ns=0)
    events = [opened(), *captured(*range(9)), ended()]
    recorder, sink = session(
        FakeCaptures(*events), clock=time_.clock, before_run=lambda: time_.pass_s(0.4)
    )
    recorder.run()
    assert sink.busy_ns == {0, 400 * MS}


def test_a_drop_that_starts_anew() -> None:
    events = [opened(), *captured(*range(6)), Dropped(0, 6 * MS, WALL, 3), *captured(9, 10)]
    recorder, sink = session(FakeCaptures(*events, ended()), on_drop="restart")
    recorder.run()
    assert streams_of(sink) == [
        "start",
        tokens(*range(6)),
        ("drop", 3, "restart"),
        "restart",
        tokens(9, 10),
        ("end", "ended"),
    ]


def test_a_drop_before_the_first_frame_starts_no_stream() -> None:
    events = [opened(), Dropped(0, 0, WALL, 2), *captured(3), ended()]
    recorder, sink = session(FakeCaptures(*events), on_drop="restart")
    recorder.run()
    assert streams_of(sink) == [
        ("drop", 2, "restart"),
        "start",
        tokens(3),
        ("end", "ended"),
    ]


def test_pictures_that_a_camera_damaged_are_counted_and_told_once() -> None:
    one, two, three = captured(1, 2, 3)
    two, three = (
        replace(event, frame=replace(event.frame, damaged_before=count))
        for event, count in ((two, 2), (three, 5))
    )
    said: list[str] = []
    recorder, sink = session(FakeCaptures(opened(), one, two, three, ended()), notice=said.append)
    [source] = recorder.run().sources
    assert streams_of(sink) == ["start", tokens(1, 2, 3), ("end", "ended")]
    assert (source.frames_damaged, source.frames_captured, source.frames_dropped) == (7, 3, 0)
    assert len(said) == 1 and "cannot be decoded" in said[0]


def test_a_camera_that_is_lost_and_comes_back() -> None:
    events = [
        opened(),
        *captured(1, 2, 3),
        Lost(0, 4 * MS, WALL, "unplugged", 0.5),
        Lost(0, 5 * MS, WALL, "still away", 1.0),
        opened(),
        *captured(8, 9),
        ended(),
    ]
    recorder, sink = session(FakeCaptures(*events))
    [source] = recorder.run().sources
    assert streams_of(sink) == [
        "start",
        tokens(1, 2, 3),
        ("lost", "unplugged"),
        "reconnect",
        tokens(8, 9),
        ("end", "ended"),
    ]
    assert (source.streams, source.reconnects) == (2, 1)


def test_a_camera_that_flaps_without_a_frame_starts_no_streams() -> None:
    gone = Lost(0, 0, WALL, "gone", 0.5)
    recorder, sink = session(FakeCaptures(opened(), gone, opened(), gone, ended()))
    recorder.run()
    assert streams_of(sink) == [("lost", "gone"), ("lost", "gone"), ("end", "ended")]


@pytest.mark.parametrize("chunk", [1, 2])
def test_keys_come_at_the_end_of_chunks(chunk: int) -> None:
    """A stream that is cut elsewhere has a padded tail. One frame is one millisecond here."""
    values = range(60)
    events = [opened(), *captured(*values), ended()]
    recorder, sink = session(FakeCaptures(*events), chunk=chunk, key_interval_s=0.010)
    recorder.run()
    starts = [entry[2] for entry in sink.log if entry[1] in ("start", "key")]
    assert starts == list(range(0, 60, 13))
    parts = [list(values)[a:b] for a, b in zip(starts, [*starts[1:], 60], strict=True)]
    expected = [item for part in parts for item in ("key", tokens(*part, chunk=chunk))]
    assert streams_of(sink) == ["start", *expected[1:], ("end", "ended")]
    assert all(
        latent.frames_real == (1 if latent.index == 0 else 4) for latent in sink.latents[:-1]
    )


def test_sources_share_a_batch_and_do_not_mix() -> None:
    events: list[Event] = [opened(0), opened(1)]
    for value in range(20):
        events += captured(value, source=0)
        if value % 3 == 0:
            events += captured(1000 + value, source=1)
    events += [ended(1), *captured(20, 21, source=0), ended(0)]
    recorder, sink = session(FakeCaptures(*events), streams=2)
    recorder.run()
    assert streams_of(sink, 0) == ["start", tokens(*range(22)), ("end", "ended")]
    assert streams_of(sink, 1) == [
        "start",
        tokens(*range(1000, 1020, 3)),
        ("end", "ended"),
    ]


def test_latency_counts_from_the_last_frame_captured() -> None:
    time_ = FakeClock(ns=0)
    events: list[Event] = [opened()]
    at: dict[int, Callable[[], object]] = {}
    for number, one in enumerate(captured(*range(9))):
        events.append(one)
        at[number + 1] = partial(setattr, time_, "ns", one.time_ns + 7 * MS)
    recorder, _ = session(FakeCaptures(*events, ended(), at=at), clock=time_.clock)
    done = recorder.run()
    assert done.latency_max_ms == 7
    assert done.latency_p50_ms == done.latency_p95_ms == pytest.approx(7, rel=0.02)


def test_latents_that_an_end_completes_have_no_latency() -> None:
    """They waited for a frame that never came."""
    time_ = FakeClock(ns=0)
    events = [opened(), *captured(0, 1), ended()]
    captures = FakeCaptures(*events, at={3: lambda: time_.pass_s(60)})
    recorder, sink = session(captures, clock=time_.clock)
    done = recorder.run()
    assert len(sink.latents) == 2 and done.latency_max_ms == 0


def test_a_wait_that_is_over_runs_the_batch_while_a_source_is_silent() -> None:
    time_ = FakeClock(ns=0)
    events = [opened(0), opened(1), *captured(0, source=1), *captured(0, 1, 2, 3, 4, source=0)]
    captures = FakeCaptures(*events, ended(0), ended(1), at={8: lambda: time_.pass_s(0.05)})
    recorder, sink = session(captures, streams=2, clock=time_.clock, batch_wait_s=0.02)
    recorder.run()
    before_end = sink.log[: sink.log.index((0, "end", "ended"))]
    written = [entry[2] for entry in before_end if entry[:2] == (0, "latent")]
    assert written == tokens(0, 1, 2, 3, 4)


def test_a_wall_clock_that_jumps_is_noted_and_nothing_else() -> None:
    def run(jump_ns: int) -> tuple[list[Any], list[int]]:
        events: list[Event] = [opened()]
        for one in captured(*range(13)):
            jumped = stamp(one.time_ns, WALL + (jump_ns if one.time_ns > 6 * MS else 0))
            frame = replace(one.frame, stamp=jumped)
            events.append(Captured(0, one.time_ns, jumped.wall_time_ns, frame))
        recorder, sink = session(FakeCaptures(*events, ended()), key_interval_s=0.005)
        recorder.run()
        return sink.log, [latent.wall_time_ns for latent in sink.latents]

    steady, jumping = run(0), run(-3600 * 10**9)
    assert steady[0] == jumping[0] and steady[1] != jumping[1]


def test_a_backlog_is_encoded_in_full_batches() -> None:
    """A frame of a source whose chunk waits is left in the queue while the other has frames."""
    gates = threading.Event(), threading.Event()
    openers = [partial(FakeSource, [0, gate, *range(1, 41)]) for gate in gates]
    with Captures(openers, capacity=41) as captures:
        captures.next(0)  # they may begin
        # After the first frame of each, all that one has came before all of the other.
        for backlog, gate in zip((2, 42), gates, strict=True):
            while captures.backlog < backlog:
                time.sleep(0.001)
            gate.set()
        while captures.backlog < 82:
            time.sleep(0.001)
        runs: list[list[int]] = []
        recorder, _ = session(captures, streams=2, batch_wait_s=10, runs=runs)
        recorder.run()
    assert runs[1:-1] == 10 * [[0, 1]], "11 latents each; the first began alone"
