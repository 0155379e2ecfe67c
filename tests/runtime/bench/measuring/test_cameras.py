"""A camera's schedule: never late by itself, never drifting, and what a full queue drops."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_step import MS, FakeClock

from vidtok_edge.runtime.bench.measuring.cameras import (
    Clock,
    PacedCameras,
    Released,
    SaturatedCameras,
)
from vidtok_edge.runtime.bench.settings import Policy

SECOND = 1_000 * MS


def camera(
    clock: FakeClock, fps: float = 10, seconds: float = 1, **options: object
) -> PacedCameras:
    start = clock.time_ns
    end = start + round(seconds * SECOND)
    given = {"slots": 1, "measure_ns": start, "give_up_ns": end + 100 * SECOND, **options}
    return PacedCameras(fps=fps, start_ns=start, end_ns=end, clock=clock, **given)  # type: ignore[arg-type]


def drain(cameras: PacedCameras, clock: FakeClock, took_ms: float = 0) -> list[Released]:
    frames = []
    while (frame := cameras.next()) is not None:
        frames.append(frame)
        clock.time_ns += round(took_ms * MS)
    return frames


def test_frames_are_released_on_schedule_and_do_not_drift() -> None:
    clock = FakeClock()
    start = clock.time_ns
    frames = drain(camera(clock, fps=29.97, seconds=60), clock)
    assert [f.number for f in frames] == list(range(len(frames))) and len(frames) == 1799
    assert all(f.time_ns == start + round(f.number * 1e9 / 29.97) for f in frames)
    assert clock.slept == [f.time_ns for f in frames], "one sleep each, to the very time"


def test_a_late_taker_gets_frames_with_the_time_they_were_due() -> None:
    """Coordinated omission: what waited behind a slow call has waited, and must say so."""
    clock = FakeClock()
    start = clock.time_ns
    cameras = camera(clock)
    cameras.next()
    clock.time_ns += 350 * MS  # frames 1, 2 and 3 are released meanwhile
    late = [cameras.next() for _ in range(3)]
    assert [f and f.time_ns - start for f in late] == [100 * MS, 200 * MS, 300 * MS]
    assert clock.now_ns() == start + 350 * MS, "and none of them was waited for"
    assert cameras.most_waiting == 2


def test_block_keeps_every_frame_and_counts_what_waits() -> None:
    clock = FakeClock()
    cameras = camera(clock)
    frames = drain(cameras, clock, took_ms=200)
    assert len(frames) == 10 and cameras.dropped == 0
    # When frame 9 is released, at 900 ms, frame 4 is worked on; it is seen when 5 is taken.
    assert cameras.waiting_at_end == cameras.most_waiting == 4


@pytest.mark.parametrize(
    "policy, kept", [("drop-oldest", [0, 3, 4, 5]), ("drop-newest", [0, 1, 2, 5])]
)
def test_a_full_queue_drops_by_its_policy(policy: Policy, kept: list[int]) -> None:
    clock = FakeClock()
    cameras = camera(clock, seconds=0.6, policy=policy, capacity=2)
    frames = [cameras.next()]
    clock.time_ns += 450 * MS  # 1, 2, 3, 4 are released into a queue for two
    frames += [cameras.next() for _ in range(3)]
    assert [f and f.number for f in frames] == kept
    assert cameras.next() is None and cameras.dropped == 2


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=40),
    st.sampled_from(["drop-oldest", "drop-newest", "block"]),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_no_frame_is_lost_from_the_books(
    took_ms: list[int], policy: Policy, capacity: int, slots: int
) -> None:
    clock = FakeClock()
    cameras = camera(clock, policy=policy, capacity=capacity, slots=slots)
    frames = []
    while (frame := cameras.next()) is not None:
        frames.append(frame)
        assert frame.time_ns <= clock.now_ns(), "no frame comes early"
        clock.time_ns += took_ms[len(frames) % len(took_ms)] * MS
    assert len(frames) + cameras.dropped == 10 * slots
    for slot in range(slots):
        numbers = [f.number for f in frames if f.slot == slot]
        assert numbers == sorted(set(numbers)), "each slot's frames in order, none twice"
    if policy == "block":
        assert cameras.dropped == 0


def test_a_queue_is_of_one_camera() -> None:
    clock = FakeClock()
    cameras = camera(clock, slots=2, policy="drop-oldest", capacity=2, seconds=0.4)
    cameras.next()
    clock.time_ns += 350 * MS
    frames = drain(cameras, clock)
    assert [(f.slot, f.number) for f in frames] == [(0, 2), (1, 2), (0, 3), (1, 3)]


def test_warm_up_is_not_counted() -> None:
    clock = FakeClock()
    cameras = camera(
        clock, policy="drop-newest", capacity=1, measure_ns=clock.time_ns + SECOND // 2
    )
    cameras.next()
    clock.time_ns += 450 * MS
    drain(cameras, clock)
    assert cameras.dropped == 0 and cameras.most_waiting == 0


def test_what_is_hopeless_is_given_up() -> None:
    clock = FakeClock()
    cameras = camera(clock, give_up_ns=clock.time_ns + 2 * SECOND)
    frames = drain(cameras, clock, took_ms=500)
    assert [f.number for f in frames] == [0, 1, 2, 3]
    assert [f.number for f in cameras.unfinished] == [4, 5, 6, 7, 8, 9]


def test_what_waits_at_the_end_is_counted_where_one_call_lasts_until_all_is_given_up() -> None:
    clock = FakeClock()
    cameras = camera(clock, give_up_ns=clock.time_ns + 2 * SECOND)
    cameras.next()
    clock.time_ns += 3 * SECOND
    assert cameras.next() is None
    assert cameras.waiting_at_end == len(cameras.unfinished) == 9


def test_saturated_gives_each_slot_its_turn() -> None:
    clock = FakeClock()
    cameras = SaturatedCameras(slots=2, end_ns=clock.time_ns + 35 * MS, clock=clock)
    frames = []
    while (frame := cameras.next()) is not None:
        frames.append((frame.slot, frame.number))
        clock.time_ns += 10 * MS
    assert frames == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_the_clock_of_the_machine_waits_long_enough() -> None:
    clock = Clock()
    due = clock.now_ns() + 3 * MS
    clock.sleep_until(due)
    assert due <= time.monotonic_ns() <= due + SECOND
    clock.sleep_until(due - SECOND)  # past: at once
