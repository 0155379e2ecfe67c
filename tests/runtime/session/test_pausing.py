"""Pauses: what comes meanwhile is left out and counted, and nothing else is."""

from __future__ import annotations

import threading
from typing import Any

from fake_session import WALL, FakeCaptures, captured, ended, opened, session, streams_of, tokens
from fake_sink import MS
from fake_sources import FakeClock, FakeSource

from vidtok_edge.runtime.session.control import Asked, Control
from vidtok_edge.runtime.session.data_log import DataLog
from vidtok_edge.runtime.sources import Captures, Dropped, Lost
from vidtok_edge.runtime.streaming.records import Sample


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


def test_what_was_captured_in_a_pause_is_left_out() -> None:
    """However far the encoder is behind: two frames wait when it is to go on."""
    control = Control()
    captures = FakeCaptures(opened(), *captured(*range(9)), ended())

    def resume() -> None:
        captures.backlog = 2
        control.resume()

    captures._at = {
        3: control.pause,
        5: resume,
        7: lambda: setattr(captures, "backlog", 0),
    }
    recorder, sink = session(captures, control=control)
    [source] = recorder.run().sources
    assert streams_of(sink) == [
        *("start", tokens(0, 1, 2), ("drop", 0, "paused")),
        *(("drop", 4, "paused"), "restart", tokens(7, 8), ("end", "ended")),
    ]
    assert (source.frames_encoded, source.frames_paused) == (5, 4)


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
        ("a", [4.0], ("x",)),
        ("b", [5.0], ("y",)),
    ]
    assert {counts.name: (counts.taken, counts.paused) for counts in log.counts} == {
        "a": (3, 1),
        "b": (2, 1),
    }


def test_a_queue_that_dropped_loses_no_more_at_a_pause() -> None:
    """A full one, which begins with what it dropped: all its frames were captured before."""
    here, behind, full, paused = (threading.Event() for _ in range(4))
    control = Control()

    def pause() -> None:
        if not full.is_set():
            behind.set()
            assert full.wait(5)
            control.pause()

    script = [0, behind, *range(1, 7), full.set, paused, 9, 10]
    with Captures(
        [lambda: (here.wait(5), FakeSource(script, live=True))[1]], capacity=2
    ) as captures:
        assert captures.next(0) is None, "the consumer is there before the first frame"
        here.set()
        recorder, _ = session(
            captures,
            control=control,
            before_run=pause,
            notice=lambda line: paused.set(),
        )
        [source] = recorder.run().sources
    assert (source.frames_encoded, source.frames_dropped, source.frames_paused) == (3, 4, 2)
