"""The host's meters through psutil: memory, clocks, temperature, and what else the CPU works on."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["Host"]

_PLAUSIBLE_C = (-40.0, 150.0)
"""Sensors that are off, or of nothing, tell less or more."""


class Host:
    """Of this process its memory; of the machine its clock, its hottest sensor and other work.

    CPU that everything else used, and that a hypervisor gave to others, is what makes a latency
    come out differently next time. What a system does not tell is left out. `library` is psutil,
    which raises ImportError where it is not installed.
    """

    name = "psutil"

    def __init__(self, library: Any = None) -> None:
        if library is None:
            import psutil

            library = psutil
        self._psutil = library
        self._process = library.Process()
        self._before = self._times()

    def read(self) -> dict[str, float]:
        found = {"rss_mb": self._process.memory_info().rss / 1e6, **self._other_work()}
        clock = self._asked("cpu_freq")
        if clock is not None and clock.current > 0:
            found["cpu_mhz"] = float(clock.current)
        degrees = [
            float(sensor.current)
            for chip, sensors in (self._asked("sensors_temperatures") or {}).items()
            for sensor in sensors
            if "PMIC" not in chip.upper()  # a Jetson's, which always says 100
            and _PLAUSIBLE_C[0] < sensor.current < _PLAUSIBLE_C[1]
        ]
        return found | ({"temperature_c": max(degrees)} if degrees else {})

    def _asked(self, what: str) -> Any:
        """What psutil says; None where this system has no such thing, or refuses to tell."""
        try:
            return getattr(self._psutil, what)()
        except (AttributeError, NotImplementedError, OSError):
            return None

    def _other_work(self) -> dict[str, float]:
        before, self._before = self._before, self._times()
        elapsed, busy, own, stolen = (b - a for a, b in zip(before, self._before, strict=True))
        if elapsed < 0.05:  # ticks are 10 ms long
            return {}
        return {"other_cores": max(0.0, (busy - own) / elapsed), "stolen_cores": stolen / elapsed}

    def _times(self) -> tuple[float, float, float, float]:
        """Time, all CPU time but idle and stolen, this process's, and stolen, in seconds."""
        times = self._psutil.cpu_times()._asdict()
        working = ("user", "nice", "system", "irq", "softirq")
        busy = sum(times.get(name, 0.0) for name in working)
        return time.monotonic(), busy, time.process_time(), times.get("steal", 0.0)

    def close(self) -> None:
        pass
