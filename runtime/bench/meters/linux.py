"""Meters that Linux has in its file systems."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["CpuClock", "OtherWork", "Rapl", "ResidentMemory", "ThermalZones"]


class ResidentMemory:
    """Resident memory of this process, from /proc."""

    name = "/proc/self/statm"

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = root / "proc/self/statm"
        self._page = os.sysconf("SC_PAGE_SIZE")

    def read(self) -> dict[str, float]:
        pages = int(self._file.read_text(encoding="ascii").split()[1])
        return {"rss_mb": pages * self._page / 1e6}

    def close(self) -> None:
        pass


class OtherWork:
    """CPU that everything else on the machine used, and that a hypervisor gave to others.

    It is what makes a latency come out differently next time.
    """

    name = "/proc/stat"

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = root / "proc/stat"
        self._tick = os.sysconf("SC_CLK_TCK")
        self._before = self._read()

    def read(self) -> dict[str, float]:
        before, self._before = self._before, self._read()
        elapsed, busy, own, stolen = (b - a for a, b in zip(before, self._before, strict=True))
        if elapsed < 0.05:  # ticks are 10 ms long
            return {}
        return {"other_cores": max(0.0, (busy - own) / elapsed), "stolen_cores": stolen / elapsed}

    def _read(self) -> tuple[float, float, float, float]:
        """Time, all CPU time but idle and stolen, this process's, and stolen, in seconds."""
        fields = self._file.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, stolen = (int(f) / self._tick for f in fields[:8])
        busy = user + nice + system + irq + softirq
        return time.monotonic(), busy, time.process_time(), stolen

    def close(self) -> None:
        pass


class CpuClock:
    """Mean clock of all cores, from cpufreq."""

    name = "cpufreq"

    def __init__(self, root: Path = Path("/")) -> None:
        folder = root / "sys/devices/system/cpu"
        self._files = sorted(folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        if not self._files:
            raise FileNotFoundError(folder)

    def read(self) -> dict[str, float]:
        kilohertz = [int(file.read_text(encoding="ascii")) for file in self._files]
        return {"cpu_mhz": sum(kilohertz) / len(kilohertz) / 1e3}

    def close(self) -> None:
        pass


class ThermalZones:
    """The hottest thermal zone."""

    name = "thermal zones"

    def __init__(self, root: Path = Path("/")) -> None:
        folder = root / "sys/class/thermal"
        self._files = sorted(folder.glob("thermal_zone*/temp"))
        self._read_all()  # where none answers, there is no such meter

    def read(self) -> dict[str, float]:
        return {"temperature_c": max(self._read_all())}

    def _read_all(self) -> list[float]:
        values = []
        for file in self._files:
            try:
                values.append(int(file.read_text(encoding="ascii")) / 1e3)
            except (OSError, ValueError):  # zones of parts that sleep fail to answer
                continue
        if not values:
            raise FileNotFoundError("no thermal zone answers")
        return values

    def close(self) -> None:
        pass


class Rapl:
    """Power of the CPU packages, from the energy that RAPL counts; often for root alone."""

    name = "RAPL, CPU packages"

    def __init__(self, root: Path = Path("/")) -> None:
        folder = root / "sys/class/powercap"
        zones = [
            file.parent
            for file in sorted(folder.glob("*/name"))
            if file.read_text(encoding="ascii").startswith("package")
        ]
        if not zones:
            raise FileNotFoundError(folder)
        self._zones = zones
        self._ranges = [int((z / "max_energy_range_uj").read_text(encoding="ascii")) for z in zones]
        self._before, self._time = self._counters(), time.monotonic()

    def read(self) -> dict[str, float]:
        now, counters = time.monotonic(), self._counters()
        joules = 0.0
        for before, after, wrap in zip(self._before, counters, self._ranges, strict=True):
            joules += ((after - before) if after >= before else after + wrap - before) / 1e6
        seconds, self._before, self._time = now - self._time, counters, now
        return {"package_w": joules / seconds} if seconds > 0.01 else {}

    def _counters(self) -> list[int]:
        return [int((zone / "energy_uj").read_text(encoding="ascii")) for zone in self._zones]

    def close(self) -> None:
        pass
