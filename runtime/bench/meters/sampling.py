"""Memory, power, clocks and temperature while a run is measured: from whatever tells them here.

Every source is optional and none is ever fatal: one that fails is left out from then on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vidtok_edge.runtime.bench.meters.jetson import Jtop, Tegrastats
from vidtok_edge.runtime.bench.meters.linux import (
    CpuClock,
    OtherWork,
    Rapl,
    ResidentMemory,
    ThermalZones,
)
from vidtok_edge.runtime.bench.meters.nvml import Nvml

__all__ = ["Meter", "Sample", "Sampler", "metered_w", "open_meters", "peak_rss_mb"]

INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read at one time; None for what nothing here tells."""

    time_s: float
    """Since measuring began."""
    rss_mb: float | None = None
    """Resident memory of the process, MB of 1e6 bytes."""
    device_mb: float | None = None
    """Memory in use on the device, by every process; on a Jetson all of its one memory."""
    package_w: float | None = None
    """Power of the CPU packages."""
    gpu_w: float | None = None
    """Power of the GPU's board."""
    module_w: float | None = None
    """Power of a Jetson's module, CPU and GPU among it."""
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    temperature_c: float | None = None
    """Of the hottest place that is measured."""
    other_cores: float | None = None
    """CPU time over time of everything but this process."""
    stolen_cores: float | None = None
    """CPU time over time that the hypervisor gave to other machines."""

    @property
    def power_w(self) -> float | None:
        """All that is metered."""
        return metered_w(self.package_w, self.gpu_w, self.module_w)


def metered_w(package_w: float | None, gpu_w: float | None, module_w: float | None) -> float | None:
    """The power of all that is metered; a module's is that of everything on it."""
    parts = [watts for watts in (package_w, gpu_w) if watts is not None]
    return module_w if module_w is not None else sum(parts) if parts else None


class Meter(Protocol):
    """One source of readings. Its constructor raises where it does not exist here."""

    name: str

    def read(self) -> dict[str, float]:
        """Fields of `Sample`; only those that it knows."""

    def close(self) -> None:
        """Release what it holds; idempotent."""


METERS: tuple[Callable[[], Meter], ...] = (
    ResidentMemory,
    OtherWork,
    CpuClock,
    ThermalZones,
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


def _close(meter: Meter) -> None:
    with suppress(Exception):  # a program that does not end must not cost the turn it metered
        meter.close()


def _merged(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What all meters say: of several temperatures the highest, else the later one's word."""
    found = {name: value for reading in readings for name, value in reading.items()}
    degrees = [reading["temperature_c"] for reading in readings if "temperature_c" in reading]
    return found | ({"temperature_c": max(degrees)} if degrees else {})


class Sampler:
    """Reads all meters twice a second, in a thread of its own, between enter and exit."""

    def __init__(self, enabled: bool = True, open_all: Callable[[], list[Meter]] = open_meters):
        self._meters = open_all() if enabled else []
        self.sources = [meter.name for meter in self._meters]
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
        while not self._stop.wait(INTERVAL_S):
            readings = []
            for meter in list(self._meters):
                try:
                    readings.append(meter.read())
                except Exception:
                    self._meters.remove(meter)
                    _close(meter)
            self.samples.append(Sample(time.monotonic(), **_merged(readings)))


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
