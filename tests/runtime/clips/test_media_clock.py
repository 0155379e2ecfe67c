"""Clocks that start again, and single times that are wrong: packets of 25 per second, by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from av.packet import Packet

from vidtok_edge.runtime.clips.media_clock import MediaClock

PERIOD = 3600  # ticks of 1/90000 s

Times = tuple[int, int]  # of presentation, of decoding


class FakeContainer:
    def __init__(self, name: str, times: Sequence[Times]) -> None:
        self.format = SimpleNamespace(name=name)
        self._times = times

    def demux(self, stream: object) -> Iterator[Packet[Any]]:
        for pts, dts in self._times:
            packet: Packet[Any] = Packet(10)
            packet.pts, packet.dts = pts, dts
            yield packet


def clock_of(times: Sequence[Times], name: str = "mpegts") -> MediaClock:
    stream = SimpleNamespace(guessed_rate=Fraction(25), time_base=Fraction(1, 90000))
    container: Any = FakeContainer(name, times)
    packed: Any = stream
    return MediaClock(container, packed)


def frames(*numbers: int) -> list[Times]:
    """Nothing is reordered."""
    return [(1000 + PERIOD * n, 1000 + PERIOD * n) for n in numbers]


def reordered(count: int) -> list[Times]:
    """Groups of I B B P ...: shown two places later than decoded, at least."""
    shown = [0, *(place for n in range(3, count, 3) for place in (n, n - 2, n - 1))]
    return [(PERIOD * (place + 2), PERIOD * n) for n, place in enumerate(shown)]


def shown(clock: MediaClock) -> list[int | None]:
    return [packet.pts for packet in clock.packets()]


def test_a_clock_that_runs_is_left_alone() -> None:
    for times in (frames(*range(10)), frames(0, 1, 50, 51), reordered(13)):
        clock = clock_of(times)
        assert shown(clock) == [pts for pts, _ in times] and clock.steps == []


@pytest.mark.parametrize("part", [frames(*range(8)), reordered(13)])
def test_a_clock_that_starts_again_is_carried_on(part: list[Times]) -> None:
    clock = clock_of(part * 3)
    first = part[0][0]
    numbers = [(pts - first) // PERIOD for pts in shown(clock) if pts is not None]
    assert sorted(numbers) == list(range(3 * len(part)))
    assert clock.steps == pytest.approx([len(part) / 25, 2 * len(part) / 25])
    assert clock.at_join(len(part) - 1) and not clock.at_join(len(part))


@pytest.mark.parametrize("part", [frames(*range(8)), reordered(13)])
def test_a_step_back_that_was_taken_for_a_wrap_is_one(part: list[Times]) -> None:
    """FFmpeg adds 2^33 where a time is more than a minute before the first one."""
    late = 1000 * 90000
    first = [(pts + late, dts + late) for pts, dts in part]
    wrapped = [(pts + (1 << 33), dts + (1 << 33)) for pts, dts in part]
    clock = clock_of(first + wrapped)
    numbers = [(pts - first[0][0]) // PERIOD for pts in shown(clock) if pts is not None]
    assert sorted(numbers) == list(range(2 * len(part)))
    assert clock.steps == pytest.approx([len(part) / 25])


def test_one_time_that_is_too_early_is_no_step() -> None:
    clock = clock_of([*frames(50, 51, 52), *frames(3), *frames(54, 55)])
    assert shown(clock) == [pts for pts, _ in frames(50, 51, 52, 53, 54, 55)]
    assert clock.steps == []


def test_one_time_that_is_too_late_is_no_step() -> None:
    times = [*frames(50, 51, 52), *frames(5000), *frames(54, 55, 56)]
    clock = clock_of([*times, *frames(50, 51)])
    assert shown(clock)[4:] == [pts for pts, _ in frames(54, 55, 56, 57, 58)]
    assert len(clock.steps) == 1


def test_only_containers_that_can_be_joined_are_judged() -> None:
    times = [*frames(5, 6, 7), *frames(0, 1, 2)]
    assert shown(clock_of(times, "matroska,webm")) == [pts for pts, _ in times]


def test_of_avi_the_place_is_the_time() -> None:
    assert shown(clock_of([(5, 0), (9, 1), (7, 4)], "avi")) == [0, 1, 4]
