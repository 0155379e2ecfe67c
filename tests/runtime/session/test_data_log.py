"""What other threads log while a session records: counted, in order, never beyond its bounds."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import numpy as np
import pytest
from fake_sources import FakeClock

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.session.data_log import DataLog
from vidtok_edge.runtime.session.samples import GAPS, ChannelCounts

HOUR = 3600 * 10**9


def log_at(clock: FakeClock, **options: Any) -> DataLog:
    return DataLog(clock=clock.clock, **options)


def test_samples_are_taken_once_in_order_with_both_times() -> None:
    clock = FakeClock()
    log = log_at(clock)
    log.log("action", [1, 2], fields=["x", "y"])
    clock.pass_s(1)
    log.log("action", (3, 4.0), clock.ns - 5)
    log.event("task", {"open": True}, wall_time_ns=clock.wall_ns() - 7)
    first, second, third = log.taken()
    assert first.fields == second.fields == ("x", "y")
    assert second.sample.time_ns == clock.ns - 5
    assert second.sample.wall_time_ns == clock.wall_ns() - 5
    assert third.sample.time_ns == clock.ns - 7
    assert json.loads(third.sample.text) == {"open": True}
    assert not log.taken()


def test_a_number_is_a_sample_of_one_and_is_copied() -> None:
    log, memory = DataLog(), np.array([1.0, 2.0])
    log.log("grip", 0.25)
    log.log("arm", memory)
    memory[:] = 9
    grip, arm = (logged.sample.values for logged in log.taken())
    assert grip is not None and arm is not None
    assert (grip.tolist(), arm.tolist()) == ([0.25], [1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ([1.0], {}, "action has 2 numbers in each sample, and got 1 number"),
        ([[1.0, 2.0]], {}, r"has the shape \[1, 2\]; allowed: \[d\]"),
        ("fast", {}, "'fast' are no numbers"),
        ([1, 2], {"fields": ["y", "x"]}, "The values of action are x, y, and now y, x"),
        ([1, 2], {"time_ns": 5}, "The clock of action went back by 1.0"),
        ([1, 2], {"time_ns": 10**18}, r"\+999999999 s from now on the monotonic clock"),
        ([1, 2], {"wall_time_ns": 0}, "-1700000001 s from now on the wall clock"),
        ([1, 2], {"time_ns": 1, "wall_time_ns": 1}, "got a time and a wall time"),
        ([1, 2], {"time_ns": 10**400}, "lies more than 292 years from now on the monotonic clock"),
        ([1, 2], {"wall_time_ns": -(10**400)}, "lies more than 292 years from now on the wall"),
    ],
)
def test_what_is_refused_raises_and_is_counted(
    values: Any, options: dict[str, Any], said: str
) -> None:
    log = log_at(FakeClock())
    log.log("action", [1, 2], fields=["x", "y"])
    with pytest.raises(StreamError, match=said):
        log.log("action", values, **options)
    log.log("action", [3, 4], fields=["x", "y"])
    [counts] = log.counts
    assert (counts.taken, counts.refused) == (2, 1)
    assert len(log.taken()) == 2


def test_a_sample_that_no_session_wrote_is_not_counted_as_recorded() -> None:
    log = DataLog()
    log.log("action", [1, 2])
    log.taken()
    log.log("action", [3, float("nan")])
    assert log.counts == (ChannelCounts("action", taken=2),)
    assert (log.waiting(["action"]), log.waiting(["other"])) == (1, 0)
    log.taken()
    assert (log.counts, log.waiting(["action"])) == ((ChannelCounts("action", taken=2),), 0)


def test_the_channel_that_says_what_is_missing_is_taken() -> None:
    log = DataLog()
    with pytest.raises(StreamError, match="The channel data_gaps says what is missing"):
        log.log(GAPS, [1.0])
    assert not log.taken()


def test_a_clock_that_stands_still_is_told() -> None:
    clock = FakeClock()
    log = log_at(clock)
    with pytest.raises(StreamError, match="The clock of action stands still"):
        for _ in range(200):
            log.log("action", 1, clock.ns)
    assert 50 < log.counts[0].taken < 150


def test_what_finds_no_room_is_counted_and_marked() -> None:
    log = DataLog(most_waiting=100)
    for i in range(10):
        log.log("action", [i, i])
    kept = log.taken()
    assert [logged.sample.channel for logged in kept] == ["action", "action", GAPS]
    assert json.loads(kept[-1].sample.text) == {"no_room": {"action": 8}}
    assert (log.counts[0].taken, log.counts[0].no_room) == (2, 8)
    log.log("action", [1, 1])
    assert len(log.taken()) == 1, "a gap is told once"


def test_many_threads_lose_nothing() -> None:
    log, found = DataLog(), []

    def work(number: int) -> None:
        for i in range(200):
            log.log(f"c{number}", [i])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found += log.taken()
        time.sleep(0)
    found += log.taken()
    for number in range(4):
        values = [x.sample.values for x in found if x.sample.channel == f"c{number}"]
        assert [v[0] for v in values if v is not None] == list(range(200))
