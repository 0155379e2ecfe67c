"""Meters of a Jetson: jtop where it is installed, else the text of tegrastats.

Not tried on a Jetson: the text is parsed as NVIDIA documents it and as people have posted it.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import threading
from typing import Any

__all__ = ["Jtop", "Tegrastats", "readings_of"]

_TOTAL_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
"""What is drawn in all, VIN by a Thor; other AGX modules have rails that make it up instead."""
_MOST_MHZ = 10_000
"""Of a GPU's clock: jtop has it in kHz, but in MHz where NVML tells it, as on a Thor."""
_RAIL_NAMES = ("VDD", "POM", "VIN", "CV", "GPU", "CPU", "SOC", "SYS5V")


def readings_of(line: str) -> dict[str, float]:
    """Fields of `Sample` in one line of tegrastats; what is not in it is left out.

    >>> line = "RAM 2448/7620MB (lfb 4x4MB) CPU [1%@729,off] cpu@44.1C VDD_IN 4123mW/4100mW"
    >>> readings_of(line)
    {'device_mb': 2567.0, 'cpu_mhz': 729.0, 'temperature_c': 44.1, 'module_w': 4.123}
    """
    found: dict[str, float] = {}
    if match := re.search(r"\bRAM (\d+)/\d+MB", line):
        found["device_mb"] = float(round(int(match[1]) * 2**20 / 1e6))
    if match := re.search(r"\bCPU \[([^]]*)\]", line):
        clocks = [int(clock) for clock in re.findall(r"%@(\d+)", match[1])]
        if clocks:
            found["cpu_mhz"] = sum(clocks) / len(clocks)
    if match := re.search(r"\bGR3D_FREQ \d+%@\[?(\d+)", line):
        found["gpu_mhz"] = float(match[1])
    # Parts that are off say -256, and the PMIC of older modules always says 100.
    zones = re.findall(r"(\w+)@(-?\d+(?:\.\d+)?)C\b", line)
    degrees = [float(value) for name, value in zones if name != "PMIC" and float(value) > -40]
    if degrees:
        found["temperature_c"] = max(degrees)
    rails = {
        name: int(now)
        for name, now in re.findall(r"(\w+) (\d+)(?:mW)?/\d+(?:mW)?", line)
        if name.startswith(_RAIL_NAMES)
    }
    total = next((rails[name] for name in _TOTAL_RAILS if name in rails), sum(rails.values()))
    if rails:
        found["module_w"] = total / 1e3
    return found


class Tegrastats:
    """The program's lines, one every half second."""

    name = "tegrastats"

    def __init__(self, program: str | None = None) -> None:
        found = program or shutil.which("tegrastats")
        if found is None:
            raise FileNotFoundError("tegrastats")
        self._process = subprocess.Popen(
            [found, "--interval", "500"], stdout=subprocess.PIPE, text=True, errors="replace"
        )
        self._latest: dict[str, float] = {}
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._latest = readings_of(line)
            self._first.set()

    def read(self) -> dict[str, float]:
        if not self._first.wait(3) or self._process.poll() is not None:
            raise RuntimeError("tegrastats says nothing")
        return dict(self._latest)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Jtop:
    """The service of jetson-stats."""

    name = "jtop"

    def __init__(self) -> None:
        self._jtop: Any = importlib.import_module("jtop").jtop(interval=0.5)
        self._jtop.start()

    def read(self) -> dict[str, float]:
        jtop = self._jtop
        if not jtop.ok():
            raise RuntimeError("jtop has stopped")
        found = {
            "device_mb": jtop.memory["RAM"]["used"] * 1024 / 1e6,  # in KiB
            "module_w": jtop.power["tot"]["power"] / 1e3,
        }
        clocks = [core["freq"]["cur"] / 1e3 for core in jtop.cpu["cpu"] if core.get("online")]
        if clocks:
            found["cpu_mhz"] = sum(clocks) / len(clocks)
        gpus = [gpu["freq"]["cur"] for gpu in jtop.gpu.values()]
        if gpus and gpus[0]:  # 0: not told
            found["gpu_mhz"] = gpus[0] / 1e3 if gpus[0] > _MOST_MHZ else float(gpus[0])
        degrees = [zone["temp"] for zone in jtop.temperature.values() if zone.get("online", True)]
        if degrees:
            found["temperature_c"] = float(max(degrees))
        return found

    def close(self) -> None:
        self._jtop.close()
