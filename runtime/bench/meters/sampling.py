"""Memory, power, clocks and temperature while a run is measured: from whatever tells them here.

Every source is optional and none is ever fatal: one that fails is left out from then on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vidtok_edge.runtime.bench.meters.host import Host
from vidtok_edge.runtime.bench.meters.jetson import Jtop, Tegrastats
from vidtok_edge.runtime.bench.meters.nvml import Nvml
from vidtok_edge.runtime.bench.meters.rapl import Rapl
from vidtok_edge.runtime.bench.sample import Sample

__all__ = ["METERS", "Meter", "Sampler", "missing_meters", "open_meters", "peak_rss_mb"]

INTERVAL_S = 0.5


class Meter(Protocol):
    """One source of readings. Its constructor raises where it does not exist here."""

    name: str

    def read(self) -> dict[str, float]:
        """Fields of `Sample`; only those that it knows."""

    def close(self) -> None:
        """Release what it holds; idempotent."""


METERS: tuple[Callable[[], Meter], ...] = (
    Host,
    Rapl,
    Nvml,
    Jtop,
    Tegrastats,
)
"""In the order in which they are asked; tegrastats is not started beside jtop."""


def open_meters(kinds: Sequence[Callable[[], Meter]] = METERS) -> list[Meter]:
    """Those that work here."""
    meters: list[Meter] = []
    for kind in kinds:
        if kind is Tegrastats and any(isinstance(meter, Jtop) for meter in meters):
            continue
        try:
            meter = kind()
        except Exception:  # an absent library, file or service: each has its own ways to say so
            continue
        try:
            meter.read()
        except Exception:
            _close(meter)
        else:
            meters.append(meter)
    return meters


def missing_meters(opened: Sequence[str]) -> list[str]:
    """What is not metered though the machine has it, for want of a package; by `Meter.name`."""
    if Host.name in opened:
        return []
    return [
        "memory over time, CPU clock, temperature and other work on the machine: they need psutil. "
        'Install it with: pip install "vidtok-edge[meters]"'
    ]


def _close(meter: Meter) -> None:
    with suppress(Exception):  # a program that does not end must not cost the turn it metered
        meter.close()


def _merged(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What all meters say: of several temperatures the highest, else the later one's word."""
    found = {name: value for reading in readings for name, value in reading.items()}
    degrees = [reading["temperature_c"] for reading in readings if "temperature_c" in reading]
    return found | ({"temperature_c": max(degrees)} if degrees else {})


class Sampler:
    """Reads all meters every `interval_s`, in a thread of its own, between enter and exit."""

    def __init__(
        self,
        enabled: bool = True,
        open_all: Callable[[], list[Meter]] = open_meters,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._meters = open_all() if enabled else []
        self._interval_s = interval_s
        self.sources = [meter.name for meter in self._meters]
        self.missing = missing_meters(self.sources) if enabled else []
        self.samples: list[Sample] = []
        """All of them; times are of the monotonic clock."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meters", daemon=True)

    def __enter__(self) -> Sampler:
        if self._meters:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._meters:
            self._thread.join(5)
        for meter in self._meters:
            _close(meter)

    def between(self, begin_ns: int, end_ns: int) -> list[Sample]:
        """The samples of that time of the monotonic clock; theirs counts from its begin."""
        return [
            replace(sample, time_s=sample.time_s - begin_ns / 1e9)
            for sample in self.samples
            if begin_ns / 1e9 <= sample.time_s <= end_ns / 1e9
        ]

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            readings = []
            for meter in list(self._meters):
                try:
                    readings.append(meter.read())
                except Exception:
                    self._meters.remove(meter)
                    _close(meter)
            self.samples.append(Sample(time_s=time.monotonic(), **_merged(readings)))


def peak_rss_mb() -> float | None:
    """Peak resident memory of this process since it began, MB of 1e6 bytes; Linux only.

    Not `ru_maxrss`: on Linux a child inherits its parent's through exec.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None
