"""Meters beside one another: none of them is ever fatal, and each tells its own."""

from __future__ import annotations

import time

from vidtok_edge.runtime.bench.meters.sampling import Sampler, missing_meters, open_meters
from vidtok_edge.runtime.bench.sample import Sample


def test_what_is_missing_without_psutil_is_said() -> None:
    assert missing_meters(["psutil", "NVML"]) == []
    [said] = missing_meters(["NVML"])
    assert "they need psutil" in said and "vidtok-edge[meters]" in said


class Steady:
    name = "steady"

    def __init__(self) -> None:
        self.closed = 0

    def read(self) -> dict[str, float]:
        return {"package_w": 4.0, "temperature_c": 70.0}

    def close(self) -> None:
        self.closed += 1


class Fails(Steady):
    """Works when it is opened, and never again."""

    name = "fails"
    reads = 0

    def read(self) -> dict[str, float]:
        self.reads += 1
        if self.reads > 1:
            raise OSError("gone")
        return {"gpu_mhz": 1.0}


class Stubborn(Fails):
    """Does not even close."""

    name = "stubborn"

    def close(self) -> None:
        super().close()
        raise TimeoutError("does not end")


class Unreadable(Stubborn):
    def read(self) -> dict[str, float]:
        raise OSError("not for you")


class Graphics(Steady):
    name = "graphics"

    def read(self) -> dict[str, float]:
        return {"gpu_w": 30.0, "temperature_c": 60.0}


class Absent(Steady):
    def __init__(self) -> None:
        raise ImportError("no module named absent")


def test_a_meter_that_fails_is_left_out_and_the_others_go_on() -> None:
    steady, fails = Steady(), Fails()
    opened = open_meters([lambda: fails, Absent, lambda: steady])
    sampler = Sampler(open_all=lambda: opened, interval_s=0.005)
    assert sampler.sources == ["fails", "steady"]
    began = time.monotonic_ns()
    with sampler:
        while len(sampler.between(began, time.monotonic_ns())) < 4:
            time.sleep(0.005)
    ended = time.monotonic_ns()
    samples = sampler.between(began, ended)
    assert all(s.package_w == 4.0 and s.gpu_mhz is None for s in samples)
    times = [s.time_s for s in samples]
    assert times == sorted(times) and 0 <= times[0] < times[-1] <= (ended - began) / 1e9
    assert (steady.closed, fails.closed) == (1, 1)
    later = sampler.between(began + round(1e9 * (times[1] + times[2]) / 2), ended)
    assert len(later) == len(samples) - 2 and later[0].time_s < times[2]
    assert sampler.between(ended, ended) == []


def sampled(*meters: Steady) -> list[Sample]:
    """A few readings of meters that open."""
    opened = open_meters([lambda m=m: m for m in meters])  # type: ignore[misc]
    with Sampler(open_all=lambda: opened, interval_s=0.005) as sampler:
        until = time.monotonic() + 5
        while len(sampler.samples) < 3 and time.monotonic() < until:
            time.sleep(0.005)
    return sampler.samples


def test_a_meter_that_does_not_close_is_not_fatal() -> None:
    stubborn, unreadable, steady = Stubborn(), Unreadable(), Steady()
    assert len(sampled(stubborn, unreadable, steady)) >= 3, "nor are the others silent from then on"
    assert (stubborn.closed, unreadable.closed, steady.closed) == (1, 1, 1)
    last = Stubborn()
    last.reads = -1_000_000  # reads to the end, and is closed by the exit
    sampled(last)
    assert last.closed == 1


def test_package_and_gpu_are_metered_apart() -> None:
    """Else an idle GPU's watts would stand for a CPU at work, and the reverse."""
    sample = sampled(Steady(), Graphics())[-1]
    assert (sample.package_w, sample.gpu_w, sample.power_w) == (4.0, 30.0, 34.0)
    assert sample.temperature_c == 70.0, "of the hotter place, not of the later meter"
    assert Sample(time_s=0.0, gpu_w=30.0, module_w=45.0).power_w == 45.0, (
        "a module's holds its GPU's"
    )
    assert Sample(time_s=0.0).power_w is None


def test_no_meters_when_none_are_wanted() -> None:
    with Sampler(enabled=False) as sampler:
        assert sampler.sources == []
    assert sampler.between(0, time.monotonic_ns()) == []
