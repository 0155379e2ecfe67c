"""Power of the CPU packages, as Linux has it in its file systems."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["Rapl"]


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
