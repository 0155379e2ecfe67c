"""The session from capture to sink: what is recorded when, and that nothing is lost unsaid."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from typing import Any

import pytest
from fake_sink import MS, FakeSink
from fake_sources import FakeClock, FakeSource, frame, opener_of
from fake_step import FakeStep, fake_manifest, tokens_from
from stamps import stamp

from vidtok_edge.errors import OutputNotWritable, SourceError, SourceLost, UsageError
from vidtok_edge.runtime import StreamEncoder
from vidtok_edge.runtime.session.control import Asked, Control
from vidtok_edge.runtime.session.data_log import DataLog
from vidtok_edge.runtime.session.ladder import LadderPlan
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.session.summary import RecordSummary
from vidtok_edge.runtime.sources import (
    Captured,
    Captures,
    Dropped,
    Ended,
    Event,
    Lost,
    Opened,
    Retry,
)
from vidtok_edge.runtime.sources.clock import CLOCK
from vidtok_edge.runtime.streaming.records import Sample

WALL = 10**18  # ahead of the monotonic clock; as `fake_sources.frame` makes it


class FakeCaptures:
    """Gives events in order, then `more`, then None; `at` calls something before an event."""

    def __init__(
        self,
        *events: Event,
        more: Iterable[Event] = (),
        at: Mapping[int, Callable[[], object]] | None = None,
    ) -> None:
        self._events = iter(enumerate(chain(events, more)))
        self._at = at or {}
        self.closed = 0
        self.backlog = 0  # what a test says that waits

    def next(self, timeout_s: float | None = None, *, last: object = ()) -> Event | None:
        number, event = next(self._events, (-1, None))
        self._at.get(number, lambda: None)()
        return event

    def close(self) -> None:
        self.closed += 1


def opened(source: int = 0) -> Opened:
    return Opened(source, 0, WALL, 30, True)


def captured(*values: int, source: int = 0) -> Iterator[Captured]:
    for value in values:
        one = frame(value)
        yield Captured(source, one.capture_time_ns, one.wall_time_ns, one)


def ended(source: int = 0, error: Exception | None = None) -> Ended:
    return Ended(source, 0, WALL, error)


def session(
    captures: Any,
    *,
    streams: int = 1,
    chunk: int = 1,
    causal: bool = True,
    fail_after: int | None = None,
    before_run: Callable[[], object] = lambda: None,
    runs: Any = None,
    sink: FakeSink | None = None,
    clock: Any = None,
    progress: Any = None,
    notice: Any = lambda line: None,
    control: Any = None,
    data: Any = None,
    parts: Any = None,
    **options: Any,
) -> tuple[Recorder, FakeSink]:
    """A recorder, and the sink that it gives to; `runs`: where the step notes its calls."""
    step = FakeStep(
        fake_manifest(streams=streams, chunk=chunk, causal=causal),
        "encoder",
        fail_after,
        runs=[] if runs is None else runs,
        before_run=before_run,
    )
    sink = sink or FakeSink()
    recorder = Recorder(
        captures,
        StreamEncoder(step.manifest, step),
        [sink],
        [f"cam{i}" for i in range(streams)],
        RecordOptions(**options),
        clock=clock or FakeClock().clock,
        progress=progress,
        notice=notice,
        control=control,
        data=data,
        parts=parts,
    )
    return recorder, sink


def tokens(*values: int, chunk: int = 1, causal: bool = True) -> list[int]:
    return tokens_from(values, fake_manifest(chunk=chunk, causal=causal))


def streams_of(sink: FakeSink, source: int = 0) -> list[Any]:
    """The log of a source, its latents joined, without the times of starts."""
    joined: list[Any] = []
    for entry in (e for e in sink.log if e[0] == source):
        if entry[1] == "latent" and joined and isinstance(joined[-1], list):
            joined[-1].append(entry[2])
        elif entry[1] == "latent":
            joined.append([entry[2]])
        else:
            joined.append(
                entry[1] if entry[1] in ("start", "key", "reconnect", "restart") else entry[1:]
            )
    return joined


# --- what is written --------------------------------------------------------------------------


def test_a_file_from_start_to_end() -> None:
    values = range(10, 23)
    captures = FakeCaptures(opened(), *captured(*values), ended())
    recorder, sink = session(captures)
    done = recorder.run()
    assert streams_of(sink) == ["start", tokens(*values), ("end", "ended")]
    assert sink.log[0] == (0, "start", 10)
    [source] = done.sources
    assert (source.frames_captured, source.frames_encoded, source.latents) == (13, 13, 4)
    assert (source.ended, source.error, bool(done)) == ("ended", None, True)
    assert source.seconds == pytest.approx(0.012)
    assert captures.closed and sink.ticks >= 15


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


# --- how it ends ------------------------------------------------------------------------------


def test_a_stop_encodes_what_was_captured_and_finishes() -> None:
    stop = threading.Event()
    captures = FakeCaptures(opened(), *captured(*range(9)), at={3: stop.set})
    recorder, sink = session(captures)
    done = recorder.run(stop)
    assert streams_of(sink) == ["start", tokens(*range(9)), ("end", "stopped")]
    assert done and captures.closed


def test_a_stop_before_anything_was_captured() -> None:
    stop = threading.Event()
    stop.set()
    recorder, sink = session(FakeCaptures())
    assert recorder.run(stop)
    assert sink.log == [(0, "end", "stopped")]


def test_a_pipe_that_the_stop_cut_is_no_error() -> None:
    stop = threading.Event()
    events = [opened(), *captured(1), ended(error=SourceError("in the middle of a frame"))]
    recorder, sink = session(FakeCaptures(*events, at={2: stop.set}))
    assert recorder.run(stop)
    assert streams_of(sink)[-1] == ("end", "in the middle of a frame")


def test_the_duration_ends_it() -> None:
    time_ = FakeClock()
    events = [opened(), *captured(*range(50))]
    captures = FakeCaptures(*events, at={20: lambda: time_.pass_s(5)})
    recorder, sink = session(captures, clock=time_.clock, duration_s=5)
    done = recorder.run()
    assert streams_of(sink)[-1] == ("end", "duration reached") and done.seconds == 5


def test_a_source_that_fails_leaves_the_others_running() -> None:
    wrong = SourceError("garbage")
    events = [opened(0), opened(1), *captured(1, 2, source=0), *captured(5, 6, source=1)]
    events += [ended(0, wrong), *captured(7, 8, source=1), ended(1)]
    recorder, sink = session(FakeCaptures(*events), streams=2)
    done = recorder.run()
    assert streams_of(sink, 0) == ["start", tokens(1, 2), ("end", "garbage")]
    assert streams_of(sink, 1) == ["start", tokens(5, 6, 7, 8), ("end", "ended")]
    assert not done and done.sources[0].error is wrong


def test_an_error_without_a_text_is_an_end() -> None:
    recorder, sink = session(FakeCaptures(opened(), *captured(1), ended(error=MemoryError())))
    assert not recorder.run()
    assert streams_of(sink) == ["start", tokens(1), ("end", "MemoryError")]


def test_what_happens_to_sources_is_told() -> None:
    told: list[str] = []
    gone = Lost(0, 0, WALL, "unplugged", 0.5)
    events = [opened(0), opened(1), *captured(1), gone, gone, opened(0), ended(0)]
    events.append(ended(1, SourceError("garbage")))
    away: list[bool] = []
    captures = FakeCaptures(
        *events,
        at={
            number: lambda: away.append(recorder.summary().sources[0].away) for number in (3, 4, 6)
        },
    )
    recorder, _ = session(captures, streams=2, notice=told.append)
    done = recorder.run()
    assert told == [
        "cam0 is lost and will be opened again: unplugged",
        "cam0 is back",
        "cam1 failed: garbage",
    ]
    assert away == [False, True, False] and not done.sources[0].away


def test_a_stop_and_a_flush_do_not_wait_for_silent_sources() -> None:
    stop = threading.Event()
    with Captures([lambda: FakeSource([1, threading.Event()], live=True)]) as captures:
        recorder, sink = session(captures, clock=CLOCK)
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        recorder.run(stop)
    assert time.monotonic() - began < 2
    assert sink.ticks >= 3, "every 0.1 s"


def test_a_step_that_raises_ends_the_recording_there() -> None:
    captures = FakeCaptures(opened(), *captured(*range(100)))
    recorder, sink = session(captures, fail_after=3)
    with pytest.raises(RuntimeError, match="the device was lost"):
        recorder.run()
    assert streams_of(sink) == [
        "start",
        tokens(*range(9)),
        ("end", "failed: the device was lost"),
    ]
    assert captures.closed


@pytest.mark.parametrize("fail_at", range(6))
def test_a_disk_that_fills_up_is_raised_at_once(fail_at: int) -> None:
    captures = FakeCaptures(opened(), *captured(*range(100)))
    recorder, sink = session(captures, sink=FakeSink(fail_at))
    with pytest.raises(OutputNotWritable, match="disk is full"):
        recorder.run()
    assert captures.closed and len(sink.log) == fail_at


def test_what_a_sink_refuses_is_given_to_none_behind_it() -> None:
    full, behind = FakeSink(fail_at=2), FakeSink()
    step = FakeStep(fake_manifest(), "encoder")
    recorder = Recorder(
        FakeCaptures(opened(), *captured(*range(100))),  # type: ignore[arg-type]
        StreamEncoder(step.manifest, step),
        [full, behind],
        ["cam"],
        clock=FakeClock().clock,
    )
    with pytest.raises(OutputNotWritable, match="disk is full"):
        recorder.run()
    assert behind.log == full.log and len(full.log) == 2


@pytest.mark.parametrize("name", ["key_interval_s", "duration_s"])
def test_options_that_mean_nothing(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is 0"):
        RecordOptions(**{name: 0})  # type: ignore[arg-type]


# --- time and memory --------------------------------------------------------------------------


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


def test_progress_is_told_now_and_then() -> None:
    told: list[RecordSummary] = []
    time_ = FakeClock()
    events = [opened(), *captured(*range(50)), ended()]
    captures = FakeCaptures(*events, at={10: lambda: time_.pass_s(0.3)})
    recorder, _ = session(captures, clock=time_.clock, progress=told.append)
    recorder.run()
    assert len(told) == 1 and told[0].sources[0].name == "cam0"


def test_hours_take_no_more_memory_than_minutes() -> None:
    def endless(count: int) -> Iterator[Event]:
        yield opened()
        for value in range(count):
            yield from captured(value % 60_000)
            if value % 100 == 99:
                yield Dropped(0, value * MS, WALL, 1)
            if value % 500 == 499:
                yield Lost(0, value * MS, WALL, "gone", 1)
                yield opened()
        yield ended()

    def peak(count: int) -> int:
        captures = FakeCaptures(more=endless(count))
        recorder, _ = session(
            captures, sink=FakeSink(forget=True), runs=deque(maxlen=1), key_interval_s=0.05
        )
        tracemalloc.start()
        recorder.run()
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(200)
    assert peak(6_000) < peak(600) + 100_000, "less than 20 bytes a frame: caches that fill up"


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


# --- with real captures -----------------------------------------------------------------------


def test_two_cameras_one_of_which_reconnects() -> None:
    gate = threading.Event()

    def late(opener: Callable[[], FakeSource]) -> Callable[[], FakeSource]:
        return lambda: (gate.wait(5), opener())[1]

    openers = [
        late(opener_of([*range(30)], live=False)),
        late(opener_of([*range(100, 120), SourceLost("gone")], [*range(200, 210)])),
    ]
    with Captures(openers, policy="block", capacity=4, retry=Retry(0.001)) as captures:
        captures.next(0)
        gate.set()
        recorder, sink = session(captures, streams=2, batch_wait_s=0.001)
        done = recorder.run()
    assert streams_of(sink, 0) == ["start", tokens(*range(30)), ("end", "ended")]
    assert streams_of(sink, 1) == [
        "start",
        tokens(*range(100, 120)),
        ("lost", "gone"),
        "reconnect",
        tokens(*range(200, 210)),
        ("end", "ended"),
    ]
    assert [s.frames_encoded for s in done.sources] == [30, 30]


# --- what it is asked for ---------------------------------------------------------------------


def test_a_pause_leaves_frames_out_and_says_so() -> None:
    control, said = Control(), list[str]()
    asked: list[Asked] = []
    captures = FakeCaptures(
        opened(),
        *captured(*range(12)),
        ended(),
        at={
            5: lambda: asked.append(control.pause()),
            6: lambda: asked.append(control.status()),
            8: lambda: asked.append(control.pause()),
            9: lambda: asked.append(control.resume()),
            10: lambda: asked.append(control.resume()),
        },
    )
    recorder, sink = session(captures, control=control, notice=said.append)
    [source] = recorder.run().sources
    # What is asked for is done after the event that it came with.
    assert streams_of(sink) == [
        "start",
        tokens(*range(5)),
        ("drop", 0, "paused"),
        ("drop", 4, "paused"),
        "restart",
        tokens(9, 10, 11),
        ("end", "ended"),
    ]
    assert [marker.paused for marker in sink.markers] == [False, True, True, False, False]
    assert (source.frames_captured, source.frames_encoded, source.frames_paused) == (12, 8, 4)
    assert source.frames_dropped == 0
    answers = [one.wait(0) for one in asked]
    assert all(answer["ok"] for answer in answers)
    assert [answer["state"] for answer in answers] == [*["paused"] * 3, *["recording"] * 2]
    assert said == ["paused", "recording again"]


def test_what_was_captured_before_a_pause_is_recorded() -> None:
    """However far the encoder is behind: three frames wait when it is asked for."""
    control = Control()
    captures = FakeCaptures(opened(), *captured(*range(9)), ended())

    def pause() -> None:
        captures.backlog = 3
        control.pause()

    captures._at = {3: pause, 7: lambda: setattr(captures, "backlog", 0)}
    recorder, sink = session(captures, control=control)
    [source] = recorder.run().sources
    assert streams_of(sink)[:3] == ["start", tokens(*range(6)), ("drop", 0, "paused")]
    assert (source.frames_encoded, source.frames_paused) == (6, 3)


def test_a_session_that_ends_while_it_is_paused_says_what_it_left_out() -> None:
    control, stop = Control(), threading.Event()
    captures = FakeCaptures(
        opened(), *captured(*range(6)), at={2: control.toggle, 6: stop.set}, more=captured(9)
    )
    recorder, sink = session(captures, control=control)
    done = recorder.run(stop)
    assert streams_of(sink)[-3:] == [
        ("drop", 0, "paused"),
        ("drop", 5, "paused"),
        ("end", "stopped"),
    ]
    assert done.paused and done.sources[0].frames_paused == 5


def test_a_camera_that_comes_back_while_it_is_paused() -> None:
    control = Control()
    events = [
        opened(),
        *captured(0, 1),
        Lost(0, 4 * MS, WALL, "unplugged", 0.5),
        opened(),
        *captured(7),
        Dropped(0, 8 * MS, WALL, 3),
        *captured(12, 13),
        ended(),
    ]
    captures = FakeCaptures(*events, at={2: control.pause, 6: control.resume})
    recorder, sink = session(captures, control=control)
    recorder.run()
    assert streams_of(sink) == [
        "start",
        tokens(0, 1),
        ("drop", 0, "paused"),
        ("lost", "unplugged"),
        ("drop", 4, "paused"),
        "reconnect",
        tokens(12, 13),
        ("end", "ended"),
    ]


def test_the_watchdog_is_fed_while_it_is_paused() -> None:
    control, fed = Control(), list[bool]()
    captures = FakeCaptures(opened(), *captured(*range(20)), ended(), at={3: control.pause})
    recorder, _ = session(captures, control=control)
    alive = recorder._notifier.alive

    def told(now_ns: int) -> None:
        fed.append(recorder.summary().paused)
        alive(now_ns)

    recorder._notifier.alive = told  # type: ignore[method-assign]
    recorder.run()
    assert fed.count(True) >= 17


class FakeFile:
    """What a session gives samples of data channels to."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, Any, tuple[str, ...]]] = []

    def log(self, sample: Sample, fields: Any = ()) -> None:
        content = sample.text if sample.values is None else sample.values.tolist()
        self.logged.append((sample.channel, content, tuple(fields)))


def test_a_pause_leaves_samples_out_counts_them_and_keeps_what_they_are_called() -> None:
    control, file = Control(), FakeFile()
    clock = FakeClock().clock
    log = DataLog(clock=clock)

    def in_the_pause() -> None:
        log.log("a", [2])
        log.log("b", [3], fields=["y"])

    def behind_it() -> None:
        log.log("a", [4])
        log.log("b", [5])

    captures = FakeCaptures(
        opened(),
        *captured(*range(8)),
        ended(),
        at={
            1: lambda: log.log("a", [1], fields=["x"]),
            2: control.pause,
            3: in_the_pause,
            5: control.resume,
            6: behind_it,
        },
    )
    recorder, _ = session(captures, control=control, data=(log, file), clock=clock)
    recorder.run()
    assert file.logged == [
        ("a", [1.0], ("x",)),
        ("data_gaps", '{"paused": {"a": 1, "b": 1}}', ()),
        ("a", [4.0], ()),
        ("b", [5.0], ("y",)),
    ]


def test_what_cannot_be_done_is_refused_and_told_where_nobody_hears_the_answer() -> None:
    control, said = Control(), list[str]()
    asked: list[Asked] = []
    captures = FakeCaptures(
        opened(),
        *captured(*range(4)),
        ended(),
        at={
            1: lambda: asked.append(control.trigger()),
            2: lambda: asked.append(control.ask("trigger", "SIGUSR1", unheard=True)),
        },
    )
    recorder, _ = session(captures, control=control, notice=said.append)
    recorder.run()
    for one in asked:
        assert one.wait(0)["ok"] is False
        assert "Everything is recorded already" in one.wait(0)["error"]
    assert said == [
        "SIGUSR1: Everything is recorded already. Only a session with --trigger keeps events."
    ]


# --- encoding that is late --------------------------------------------------------------------


def late_session(
    waits: list[float],
    ladder: str,
    *,
    can_be_late: bool = True,
    control: Any = None,
    **times: float,
) -> tuple[RecordSummary, FakeSink, list[str], dict[str, list[Any]]]:
    """A camera of 30 frames per second; each frame waited for so long before it was taken."""
    said: list[str] = []
    runs: dict[str, list[Any]] = {"fp32": [], "int8": []}
    time_ = FakeClock(ns=0)

    def at(number: int) -> None:
        time_.ns = max(time_.ns, round(number * 1e9 / 30 + waits[number] * 1e9))

    events: list[Event] = [Opened(0, 0, WALL, 30, can_be_late)]
    for number in range(len(waits)):
        one = frame(number, time_ns=round(number * 1e9 / 30))
        events.append(Captured(0, one.capture_time_ns, one.wall_time_ns, one))
    captures = FakeCaptures(
        *events, ended(), at={number + 1: partial(at, number) for number in range(len(waits))}
    )
    steps = {name: FakeStep(fake_manifest(), "encoder", runs=runs[name]) for name in runs}
    sink = FakeSink()
    recorder = Recorder(
        captures,  # type: ignore[arg-type]
        StreamEncoder(steps["fp32"].manifest, steps["fp32"]),
        [sink],
        ["cam"],
        RecordOptions(ladder=LadderPlan(rungs=LadderPlan.rungs_of(ladder), **times)),
        spare={"int8": StreamEncoder(steps["int8"].manifest, steps["int8"])},
        clock=time_.clock,
        notice=said.append,
        control=control,
    )
    return recorder.run(), sink, said, runs


def test_a_ladder_is_taken_down_at_keys_and_climbed_again() -> None:
    waits = [*[0.01] * 30, *[0.5] * 150, *[0.01] * 400]
    done, sink, said, runs = late_session(waits, "int8,half-rate", late_after_s=2, climb_after_s=5)
    starts = [marker for marker in sink.markers if marker.starts_stream]
    assert [(m.kind, m.every, m.detail) for m in starts] == [
        ("start", 1, ""),
        ("key", 1, "int8"),
        ("restart", 2, "int8, half-rate"),
        ("restart", 1, "int8"),
        ("key", 1, ""),
    ]
    assert said == [
        "encoding is late: int8",
        "encoding is late: int8, half-rate",
        "encoding keeps up: int8",
        "encoding keeps up: as asked for",
    ]
    assert all(runs.values()), "both encoders had their share"
    [source] = done.sources
    thinned = source.frames_thinned
    assert thinned > 0 and source.frames_encoded + thinned == len(waits) == source.frames_captured
    assert (done.steps, done.given_up, source.frames_dropped) == (4, "", 0)
    # At half the rate every second frame is encoded, and each keeps its time.
    of = [latent for latent in sink.latents if latent.stream == 2]
    times = [round(one.capture_time_ns * 30 / 1e9) for x in of for one in x.stamps]
    assert {b - a for a, b in pairwise(times)} == {2}
    numbers = [round(one.capture_time_ns * 30 / 1e9) for x in sink.latents for one in x.stamps]
    assert numbers == sorted(set(numbers)), "none comes twice"


def test_what_waits_for_the_encoder_is_never_late_and_that_is_said() -> None:
    done, sink, said, _ = late_session([0.5] * 300, "half-rate", can_be_late=False)
    assert done.steps == 0 and len(sink.markers) == 2
    assert len(said) == 1 and "--queue drop-oldest" in said[0]


def test_a_short_hold_up_is_no_reason() -> None:
    waits = [0.5 if number % 105 < 45 else 0.01 for number in range(1050)]
    done, _, said, _ = late_session(waits, "half-rate")
    assert (done.steps, said) == (0, [])


def test_dropped_frames_are_late_too() -> None:
    time_ = FakeClock(ns=0)
    events: list[Event] = [opened()]
    for number in range(100):
        events += [*captured(number), Dropped(0, number * MS, WALL, 1)]
    at = {number: partial(time_.pass_s, 0.05) for number in range(1, 200)}
    recorder, sink = session(
        FakeCaptures(*events, ended(), at=at),
        clock=time_.clock,
        ladder=LadderPlan(rungs=LadderPlan.rungs_of("third-rate")),
    )
    assert recorder.run().given_up == "third-rate"
    assert [marker.every for marker in sink.markers if marker.starts_stream] == [1, 3]


class FakeParts:
    """A part that ends once, as an event that is over or as any part."""

    events, writing, end_detail = 0, True, "it ends"

    def __init__(self, sink: FakeSink, event_is_over: bool) -> None:
        self._sink, self.event_is_over = sink, event_is_over
        self.wanted = False
        self.ended_at: int | None = None

    def due(self, now_ns: int) -> bool:
        return self.wanted and self.ended_at is None

    def end_part(self) -> None:
        self.ended_at = len(self._sink.log)


@pytest.mark.parametrize(("event", "frames"), [(True, 7), (False, 4)])
def test_an_event_holds_what_was_captured_when_it_ends(event: bool, frames: int) -> None:
    """Three frames wait for the encoder then; those of another part may lie in the next."""
    sink = FakeSink()
    parts = FakeParts(sink, event)
    captures = FakeCaptures(opened(), *captured(*range(9)), ended())

    def end() -> None:
        captures.backlog, parts.wanted = 3, True

    captures._at = {4: end, 8: lambda: setattr(captures, "backlog", 0)}
    recorder, _ = session(captures, sink=sink, parts=parts)
    recorder.run()
    assert streams_of(sink) == [
        "start",
        tokens(*range(frames)),
        ("end", "it ends"),
        "key",
        tokens(*range(frames, 9)),
        ("end", "ended"),
    ]
    assert parts.ended_at is not None
