"""Meters of an NVIDIA GPU that is no Jetson, through NVML."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Nvml"]


class Nvml:
    """Power, memory, clock and temperature of the GPU that CUDA takes; needs `nvidia-ml-py`.

    What this GPU does not tell is left out (a Jetson's NVML tells next to nothing).
    """

    name = "NVML"

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._nvml: Any = importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        # Of one GPU there is no doubt, and CUDA's driver need not be started to ask it.
        place = _first_of_cuda(load) if self._nvml.nvmlDeviceGetCount() > 1 else None
        if place is None:
            self._gpu = self._nvml.nvmlDeviceGetHandleByIndex(0)
        else:
            self._gpu = self._nvml.nvmlDeviceGetHandleByPciBusId(place)

    def read(self) -> dict[str, float]:
        nvml, gpu = self._nvml, self._gpu
        found: dict[str, float] = {}
        with suppress(nvml.NVMLError):
            found["device_mb"] = nvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e6
        with suppress(nvml.NVMLError):
            found["gpu_w"] = nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3
        with suppress(nvml.NVMLError):
            found["gpu_mhz"] = float(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))
        with suppress(nvml.NVMLError):
            degrees = nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
            found["temperature_c"] = float(degrees)
        return found

    def close(self) -> None:
        with suppress(Exception):
            self._nvml.nvmlShutdown()


def _first_of_cuda(load: Callable[[str], Any]) -> bytes | None:
    """The PCI address of CUDA's first GPU: it counts otherwise than NVML, which knows nothing of
    `CUDA_VISIBLE_DEVICES`."""
    try:
        cuda = load("libcuda.so.1")
    except OSError:
        return None
    device, address = ctypes.c_int(), ctypes.create_string_buffer(32)
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetPCIBusId(address, len(address), device)
    )
    return None if failed else address.value
