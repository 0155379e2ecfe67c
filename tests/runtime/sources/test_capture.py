"""Captures: order, policies, losses, ends; nothing hangs and nothing is lost unsaid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_sources import FakeClock, FakeSource, opener_of, told

from vidtok_edge.errors import MissingDependency, SourceError, SourceLost, UsageError
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
from vidtok_edge.runtime.sources.clock import Clock
from vidtok_edge.runtime.sources.frame_queue import Policy

AT_ONCE = Retry(first_s=0.001, longest_s=0.002)


def started(*openers: Callable[[], FakeSource], **options: Any) -> Captures:
    """Captures whose consumer is there before anything is opened."""
    gate = threading.Event()

    def waiting(opener: Callable[[], FakeSource]) -> Callable[[], FakeSource]:
        return lambda: (gate.wait(5), opener())[1]

    captures = Captures([waiting(opener) for opener in openers], **options)
    assert captures.next(0) is None
    gate.set()
    return captures


def events_of(captures: Captures, most: int = 100_000) -> Iterator[Event]:
    while most and (event := captures.next(5)) is not None:
        yield event
        most -= 1


@pytest.mark.parametrize(
    ("live", "options", "can_be_late"),
    [
        (True, {}, True),
        (False, {}, False),
        (False, {"policy": "block"}, False),
        (False, {"policy": "drop-oldest"}, True),
        (False, {"realtime": True}, True),
    ],
)
def test_frames_that_wait_are_never_late(
    live: bool, options: dict[str, Any], can_be_late: bool
) -> None:
    with Captures([opener_of([*range(3)], live=live)], **options) as captures:
        opened = captures.next(5)
    assert isinstance(opened, Opened) and opened.can_be_late is can_be_late


def test_a_source_from_its_opening_to_its_end() -> None:
    with Captures([lambda: FakeSource(range(20))], capacity=3) as captures:
        assert told(events_of(captures)) == ["opened", *range(20), "ended"]
        assert captures.next() is None, "all have ended"


def test_sources_are_told_apart_and_come_in_order() -> None:
    openers = [lambda: FakeSource(range(50)), lambda: FakeSource(range(100, 150))]
    with Captures(openers) as captures:
        events = list(events_of(captures))
    for source, first in ((0, 0), (1, 100)):
        own = [event for event in events if event.source == source]
        assert told(own) == ["opened", *range(first, first + 50), "ended"]


def test_a_timeout_gives_none() -> None:
    with Captures([opener_of([])]) as captures:
        while captures.next(0.05) is not None:
            pass


def test_some_sources_can_be_left_for_last() -> None:
    openers = [lambda: FakeSource(range(4)), lambda: FakeSource(range(100, 104))]
    with Captures(openers) as captures:
        captures.wait_open()
        first = captures.next(0)
        while captures.backlog < 8:
            time.sleep(0.001)
        assert first is not None
        events = [captures.next(5, last=(0,)) for _ in range(6 - first.source)]
        assert {e.source for e in events if e is not None} == {1}
        assert {e.source for e in events_of(captures)} == {0}


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest"])
def test_a_consumer_slower_than_its_source(policy: Policy) -> None:
    """A minute at 30 fps against an encoder that takes few of them; each is accounted for."""
    room = threading.Event()
    script: list[Any] = []
    for value in range(1800):
        script.append(value)
        if value % 30 == 29:
            script += [lambda: room.wait(5), room.clear]  # one second has passed
    most = taken = dropped = 0
    with started(lambda: FakeSource(script, live=True), policy=policy, capacity=4) as captures:
        for event in events_of(captures):
            most = max(most, captures.backlog)
            if isinstance(event, Dropped):
                dropped += event.frames
            taken += isinstance(event, Captured)
            if isinstance(event, Captured | Dropped) and captures.backlog < 2:
                room.set()
    assert most <= 4
    assert taken + dropped == 1800 and taken < 1800


def test_what_waits_is_all_that_came_by_now_and_nothing_of_after() -> None:
    """A full queue that dropped, beside one of another source; both go on while they are taken."""
    full, further, done = (threading.Event() for _ in range(3))
    script = [*range(6), full.set, further, 6, 7, done.set, threading.Event()]
    openers = [
        lambda: FakeSource(script, live=True),
        lambda: FakeSource([full, 100, threading.Event()], live=True),
    ]
    with started(*openers, capacity=2) as captures:
        assert full.wait(5)
        while captures.backlog < 3:
            time.sleep(0.001)
        taken: list[Event] = []
        for event in captures.waiting():
            taken.append(event)
            further.set()
            assert done.wait(5)
        assert told(e for e in taken if e.source == 1) == ["opened", 100]
        # What comes drops what had not been taken, and stays itself.
        assert told(e for e in taken if e.source == 0) == ["opened", ("dropped", 6)]
        assert told([captures.next(5), captures.next(5)]) == [6, 7]


def test_block_loses_nothing_and_holds_little() -> None:
    given = 0

    def count() -> None:
        nonlocal given
        given += 1

    script = [item for value in range(200) for item in (value, count)]
    with Captures([lambda: FakeSource(script)], policy="block", capacity=4) as captures:
        for taken, _ in enumerate(events_of(captures)):
            assert captures.backlog <= 4 and given <= taken + 6
    assert taken == 201


def test_a_queue_needs_room() -> None:
    with pytest.raises(UsageError, match="capacity is 0"):
        Captures([], capacity=0)


def test_a_live_source_drops_and_a_file_waits_unless_told_otherwise() -> None:
    gate = threading.Event()
    openers = [
        lambda: FakeSource([*range(100), gate.set], live=True),
        lambda: FakeSource(range(100, 150)),
    ]
    with started(*openers, capacity=4) as captures:
        first = captures.next(5)
        assert gate.wait(5), "nobody took a frame, and still it went on"
        events = [first, *events_of(captures)]
    live, file = ([e for e in events if e is not None and e.source == i] for i in (0, 1))
    assert sum(e.frames for e in live if isinstance(e, Dropped)) > 0
    assert told(file) == ["opened", *range(100, 150), "ended"]


def test_a_camera_that_disappears_comes_back() -> None:
    lives: list[Any] = [
        [1, 2, SourceLost("unplugged")],
        SourceError("not yet"),
        [3, SourceLost("again")],
        [4],
    ]
    with started(opener_of(*lives), retry=AT_ONCE) as captures:
        events = list(events_of(captures))
    assert told(events) == [
        "opened",
        1,
        2,
        "lost",
        "lost",
        "opened",
        3,
        "lost",
        "opened",
        4,
        "ended",
    ]
    assert [e.reason for e in events if isinstance(e, Lost)] == ["unplugged", "not yet", "again"]


def test_waits_grow_until_a_frame_comes() -> None:
    gone = SourceLost("gone")
    time_ = FakeClock()
    lives: list[Any] = [[1, gone], gone, gone, [gone], gone, gone, [2, gone], []]
    retry = Retry(first_s=0.5, factor=2, longest_s=6)
    with started(opener_of(*lives), retry=retry, clock=time_.clock) as captures:
        lost = [e.retry_in_s for e in events_of(captures) if isinstance(e, Lost)]
    assert lost == time_.waits == [0.5, 1, 2, 4, 6, 6, 0.5]


def test_a_camera_whose_frames_change_is_lost_too() -> None:
    """Any SourceError: another size means that it was set anew."""
    lives: list[Any] = [[1, SourceError("another size")], [2]]
    with started(opener_of(*lives), retry=AT_ONCE) as captures:
        assert told(events_of(captures)) == ["opened", 1, "lost", "opened", 2, "ended"]


def test_a_life_that_ends_is_closed() -> None:
    lives = [FakeSource([1, SourceLost("gone")], live=True), FakeSource([2], live=True)]
    opener = iter(lives).__next__
    with started(opener, retry=AT_ONCE) as captures:
        assert told(events_of(captures)) == ["opened", 1, "lost", "opened", 2, "ended"]
    assert all(life.closed.is_set() for life in lives)


def test_a_file_that_fails_has_ended() -> None:
    opener = opener_of([1, SourceError("garbage")], live=False)
    with Captures([opener]) as captures:
        events = list(events_of(captures))
    assert told(events) == ["opened", 1, "SourceError"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), MissingDependency("av", "video", "It")])
@pytest.mark.parametrize("live", [True, False])
def test_what_is_no_loss_is_not_retried(error: Exception, live: bool) -> None:
    """A mistake in a source's code would otherwise be tried again for ever, unseen."""
    with Captures([opener_of([1, error], live=live)], retry=AT_ONCE) as captures:
        last = list(events_of(captures))[-1]
    assert isinstance(last, Ended) and last.error is error


def test_a_thread_that_is_shot_has_ended() -> None:
    with Captures([opener_of([SystemExit(3)])]) as captures:
        assert told(events_of(captures)) == ["opened", "SystemExit"]


def test_one_that_never_opened_is_not_retried() -> None:
    wrong = SourceError("no such camera")
    with Captures([lambda: FakeSource([1]), opener_of(wrong)]) as captures:
        with pytest.raises(SourceError, match="no such camera"):
            captures.wait_open()
        assert told(e for e in events_of(captures) if e.source == 1) == ["SourceError"]


def test_waiting_for_the_first_opening() -> None:
    gate = threading.Event()

    def late() -> FakeSource:
        gate.wait(5)
        return FakeSource([1])

    with Captures([lambda: FakeSource([0]), late]) as captures:
        captures.wait_open(lambda: True)  # gave up
        threading.Timer(0.02, gate.set).start()
        captures.wait_open()
        assert sorted(map(str, told(events_of(captures)))) == sorted(
            ["opened", "opened", "0", "1", "ended", "ended"]
        )


def test_what_a_camera_sees_before_anyone_looks_is_old() -> None:
    seen, gate = threading.Event(), threading.Event()
    script = [*range(5), seen.set, gate, 7]
    with Captures([lambda: FakeSource(script, live=True)]) as captures:
        assert seen.wait(5)
        assert told([captures.next(5)]) == ["opened"]
        gate.set()
        assert told(events_of(captures)) == [7, "ended"]


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("capture")]


@pytest.mark.parametrize("policy", ["block", "drop-oldest", "drop-newest"])
@pytest.mark.parametrize("script", [[*range(50)], [threading.Event()], []], ids=len)
def test_threads_end_at_close(policy: Policy, script: list[Any]) -> None:
    """Blocked in a full queue, in a stalled source, in the wait before a retry."""
    openers = [
        lambda: FakeSource(script, live=True),
        opener_of([SourceLost("gone")]),
        lambda: FakeSource(script),
    ]
    captures = Captures(openers, policy=policy, capacity=2, retry=Retry(first_s=3600))
    captures.next(1)
    time.sleep(0.02)
    captures.close()
    captures.close()
    assert not running()


def test_threads_end_that_never_began() -> None:
    Captures([lambda: FakeSource(range(5))]).close()
    assert not running()


def test_what_was_captured_can_be_taken_after_close() -> None:
    captures = Captures([lambda: FakeSource(range(50))], policy="block", capacity=3)
    assert told([captures.next(5), captures.next(5)]) == ["opened", 0]
    while captures.backlog < 3:
        time.sleep(0.001)
    captures.close()
    assert told(events_of(captures)) == [1, 2, 3]


def test_a_camera_that_flaps_fills_no_memory() -> None:
    def flaps() -> FakeSource:
        return FakeSource([1, SourceLost("gone")], live=True)

    with Captures([flaps], capacity=2, retry=Retry(0, 1, 0)) as captures:
        captures.next(1)
        time.sleep(0.1)
        captures.close()
        assert 10 < len(list(events_of(captures))) < 60


def test_a_wall_clock_that_jumps_changes_nothing() -> None:
    time_ = FakeClock()

    def jump() -> None:
        time_.wall_jump_ns -= 3600 * 10**9

    lives: list[Any] = [[1, jump, 2, SourceLost("gone")], [jump, 3]]
    with started(opener_of(*lives), clock=time_.clock) as captures:
        events = list(events_of(captures))
    assert told(events) == ["opened", 1, 2, "lost", "opened", 3, "ended"]
    others = [e for e in events if not isinstance(e, Captured)]
    assert [e.time_ns for e in others] == sorted(e.time_ns for e in others)
    assert others[-1].wall_time_ns < others[0].wall_time_ns
    assert time_.waits == [0.5]


def test_the_real_clock_is_the_default() -> None:
    before = time.monotonic_ns()
    with Captures([lambda: FakeSource([])]) as captures:
        opened = captures.next(5)
    assert opened is not None and before <= opened.time_ns <= time.monotonic_ns()
    assert abs(opened.wall_time_ns - time.time_ns()) < 60e9
    assert Clock().now()[0] >= before
