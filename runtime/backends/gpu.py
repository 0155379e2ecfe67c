"""The NVIDIA GPU of this machine, asked of the driver. Ran on one H200 (docs/measured).

Through ctypes, because a Jetson has the driver's library but none of the packages that wrap it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Gpu", "Obstacle", "gpu_obstacle", "present_gpu"]

_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, cuda.h


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its name as the driver calls it, its compute capability as `sm87`, its memory."""

    name: str
    architecture: str
    memory_bytes: int
    """All of it; on a Jetson the memory that it shares with the CPU."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why something of the GPU does not start here, and what to do about it."""

    why: str
    remedy: str
    """A sentence without its full stop."""

    def __str__(self) -> str:
        return f"{self.why}. {self.remedy}"


def gpu_obstacle(load: Callable[[str], Any] = ctypes.CDLL) -> Obstacle | None:
    """Why CUDA shows no GPU: no driver, or one that has none; None where it shows one."""
    try:
        cuda = load(_driver())
    except OSError as error:
        return Obstacle(
            f"there is no NVIDIA driver ({error})",
            "Install the NVIDIA driver; in a container, start it with --gpus all, on a Jetson with "
            "--runtime nvidia",
        )
    device = ctypes.c_int()
    for call in ("cuInit", "cuDeviceGet"):
        status = cuda.cuInit(0) if call == "cuInit" else cuda.cuDeviceGet(ctypes.byref(device), 0)
        if status:
            why = f"the NVIDIA driver shows no GPU ({call} gives {status})"
            return Obstacle(why, "Look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
    return None


def _driver() -> str:
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def present_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu | None:
    """The first GPU that CUDA shows, or None where there is no driver or no GPU.

    `CUDA_VISIBLE_DEVICES` chooses among several. Asking starts CUDA's driver, but no context.
    """
    try:
        cuda = load(_driver())
    except OSError:
        return None
    device = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    label = ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t()
    failed = cuda.cuDeviceGetName(label, len(label), device) or cuda.cuDeviceTotalMem_v2(
        ctypes.byref(memory), device
    )
    if failed:
        return None
    major, minor = (_attribute(cuda, which, device) for which in _CAPABILITY)
    return Gpu(label.value.decode(errors="replace"), f"sm{major}{minor}", memory.value)


def _attribute(cuda: Any, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value
