"""The queue of a source: every frame is taken, or missing in its place."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fake_sources import frame, told
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.sources import Captured, Dropped, Event, Lost
from vidtok_edge.runtime.sources.frame_queue import FrameQueue, Policy


def captured(value: int) -> Captured:
    one = frame(value)
    return Captured(0, one.capture_time_ns, one.wall_time_ns, one)


def after_overflow(policy: Policy, frames: int, capacity: int) -> list[Any]:
    queue = FrameQueue(capacity, policy)
    for value in range(frames):
        assert queue.offer(captured(value), value)
        assert queue.frames <= capacity and len(queue) <= 2 * capacity
    return told(queue.take() for _ in range(len(queue)))


def test_drop_oldest_keeps_the_last() -> None:
    assert after_overflow("drop-oldest", 1000, 3) == [("dropped", 997), 997, 998, 999]


def test_drop_newest_keeps_the_first() -> None:
    assert after_overflow("drop-newest", 1000, 3) == [0, 1, 2, ("dropped", 997)]


def test_block_takes_no_more() -> None:
    queue = FrameQueue(2, "block")
    assert [queue.offer(captured(i), i) for i in range(3)] == [True, True, False]


def test_a_gap_is_reported_where_it_is() -> None:
    queue = FrameQueue(2, "drop-newest")
    for value in range(4):
        queue.offer(captured(value), value)
    assert told([queue.take()]) == [0]
    for value in range(4, 6):
        queue.offer(captured(value), value)
    assert told(queue.take() for _ in range(len(queue))) == [1, ("dropped", 2), 4, ("dropped", 1)]
    assert queue.frames == 0


@given(
    policy=st.sampled_from(["block", "drop-oldest", "drop-newest"]),
    capacity=st.integers(1, 5),
    in_runs=st.booleans(),
    offers=st.lists(st.booleans(), max_size=60),
)
def test_every_frame_is_taken_or_missing_in_its_place(
    policy: Policy, capacity: int, in_runs: bool, offers: list[bool]
) -> None:
    """True offers a frame, False takes an event. What comes out counts from 0 without a hole."""
    queue, offered, out = FrameQueue(capacity, policy, in_runs=in_runs), 0, list[Event]()
    for offer in offers:
        if offer:
            offered += queue.offer(captured(offered), offered)
        elif queue:
            out.append(queue.take())
        assert queue.frames <= capacity
    out += [queue.take() for _ in range(len(queue))]
    position = 0
    for event in out:
        assert event.time_ns == position * 1_000_000
        position += event.frames if isinstance(event, Dropped) else 1
    assert position == offered
    gaps = [place for place, event in enumerate(out) if isinstance(event, Dropped)]
    assert policy != "block" or not gaps
    if in_runs:  # nor is a stream that begins behind a gap shorter
        assert all(b - a > capacity for a, b in pairwise(gaps)) and gaps[:1] != [0]


def test_frames_before_a_loss_are_dropped_before_it() -> None:
    queue = FrameQueue(1, "drop-oldest")
    queue.offer(captured(0), 0)
    queue.add(Lost(0, 0, 0, "", 1), 1)
    queue.offer(captured(2), 2)
    queue.offer(captured(3), 3)
    assert told(queue.take() for _ in range(len(queue))) == [
        ("dropped", 1),
        "lost",
        ("dropped", 1),
        3,
    ]


def test_the_time_of_a_gap_is_that_of_its_first_frame() -> None:
    queue = FrameQueue(1, "drop-oldest")
    for value in range(5, 9):
        queue.offer(captured(value), value)
    assert queue.take().time_ns == 5_000_000
