"""The session from capture to sink: what is recorded when, and that nothing is lost unsaid."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest
from costs import peak_bytes
from fake_session import WALL, FakeCaptures, captured, ended, opened, session, streams_of, tokens
from fake_sink import MS, FakeSink
from fake_sources import FakeClock, FakeSource, opener_of
from fake_step import FakeStep, fake_manifest

from vidtok_edge.errors import (
    OutputExists,
    OutputNotWritable,
    RecordingBusy,
    SourceError,
    SourceLost,
    UsageError,
)
from vidtok_edge.runtime import StreamEncoder
from vidtok_edge.runtime.session.control import Asked, Control
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.session.summary import RecordSummary
from vidtok_edge.runtime.sources import Captures, Dropped, Event, Lost, Retry
from vidtok_edge.runtime.sources.clock import CLOCK


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


def test_what_is_odd_about_a_source_is_told_once_also_where_it_is_found_late() -> None:
    def find() -> None:
        source.doubts = "known", "found"

    told: list[str] = []
    source = FakeSource([1, 2, find])
    source.doubts = ("known",)
    with Captures([lambda: source]) as captures:
        recorder, _ = session(captures, clock=CLOCK, notice=told.append)
        recorder.run()
    assert told == ["cam0: known", "cam0: found"]


def test_what_is_found_odd_about_a_camera_is_told_where_it_is_lost() -> None:
    def find() -> None:
        lives[0].doubts = "known", "found"

    told, stop = list[str](), threading.Event()
    lives = [
        FakeSource([1, find, SourceError("unplugged")], live=True),
        FakeSource([2, stop.set, threading.Event()], live=True),
    ]
    for source in lives:
        source.doubts = ("known",)
    openers = iter(lives)
    with Captures([lambda: next(openers)], retry=Retry(0.001)) as captures:
        recorder, _ = session(captures, clock=CLOCK, notice=told.append)
        recorder.run(stop)
    assert told.count("cam0: found") == 1


@pytest.mark.parametrize("live", [False, True])
def test_what_is_found_odd_about_a_source_is_told_also_where_the_session_ends_before_it(
    live: bool,
) -> None:
    def find() -> None:
        source.doubts = "known", "found"
        stop.set()

    told, stop = list[str](), threading.Event()
    source = FakeSource([1, 2, find, threading.Event()], live=live)
    source.doubts = ("known",)
    with Captures([lambda: source]) as captures:
        recorder, sink = session(captures, clock=CLOCK, notice=told.append)
        recorder.run(stop)
    assert told == ["cam0: known", "cam0: found"]
    assert streams_of(sink)[-1] == ("end", "stopped")


def test_a_stop_and_a_flush_do_not_wait_for_silent_sources() -> None:
    stop = threading.Event()
    with Captures([lambda: FakeSource([1, threading.Event()], live=True)]) as captures:
        recorder, sink = session(captures, clock=CLOCK)
        until = time.monotonic() + 5

        def stop_after_three_ticks() -> None:
            while sink.ticks < 3 and time.monotonic() < until:
                time.sleep(0.01)
            stop.set()

        threading.Thread(target=stop_after_three_ticks).start()
        recorder.run(stop)
    assert time.monotonic() < until and sink.ticks >= 3, "every 0.1 s"


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
        return peak_bytes(recorder.run)

    peak(200)
    assert peak(6_000) < peak(600) + 100_000, "less than 20 bytes a frame: caches that fill up"


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


@pytest.mark.parametrize("error", [RecordingBusy("of another"), OutputExists("drive.mcap")])
def test_an_event_that_the_disk_refused_ends_the_session(error: UsageError) -> None:
    """What the ring held is gone then."""
    control, asked, sink = Control(), list[Asked](), FakeSink()
    captures = FakeCaptures(
        opened(), *captured(*range(9)), ended(), at={2: lambda: asked.append(control.trigger())}
    )
    recorder, _ = session(captures, sink=sink, control=control, parts=FakeParts(sink, error=error))
    with pytest.raises(type(error), match=str(error)):
        recorder.run()
    assert asked[0].wait(0) == {"ok": False, "error": str(error)}
    assert captures.closed and sink.log[-1] == (0, "end", f"failed: {error}")


class FakeParts:
    """A part that ends once, as an event that is over or as any part."""

    events, writing, end_detail = 0, True, "it ends"

    def __init__(
        self, sink: FakeSink, event_is_over: bool = False, error: Exception | None = None
    ) -> None:
        self._sink, self.event_is_over, self._error = sink, event_is_over, error
        self.wanted = False
        self.ended_at: int | None = None

    def due(self, now_ns: int) -> bool:
        return self.wanted and self.ended_at is None

    def trigger(self, why: str) -> None:
        if self._error is not None:
            raise self._error

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
