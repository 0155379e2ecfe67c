"""Meters of an NVIDIA GPU that is no Jetson, through NVML."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

__all__ = ["Nvml"]


class Nvml:
    """Power, memory, clock and temperature of the first GPU; needs `nvidia-ml-py`.

    What this GPU does not tell is left out (a Jetson's NVML tells next to nothing).
    """

    name = "NVML"

    def __init__(self) -> None:
        self._nvml: Any = importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        self._gpu = self._nvml.nvmlDeviceGetHandleByIndex(0)

    def read(self) -> dict[str, float]:
        nvml, gpu = self._nvml, self._gpu
        found: dict[str, float] = {}
        with suppress(nvml.NVMLError):
            found["device_mb"] = nvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e6
        with suppress(nvml.NVMLError):
            found["power_w"] = nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3
        with suppress(nvml.NVMLError):
            found["gpu_mhz"] = float(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))
        with suppress(nvml.NVMLError):
            degrees = nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
            found["temperature_c"] = float(degrees)
        return found

    def close(self) -> None:
        with suppress(Exception):
            self._nvml.nvmlShutdown()
