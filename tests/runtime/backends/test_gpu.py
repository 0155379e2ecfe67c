"""What the driver is asked, on a machine without one."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from vidtok_edge.runtime.backends.gpu import Gpu, gpu_obstacle, present_gpu


class Driver:
    """A libcuda with an Orin, or with what `status` says."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        return 0

    def cuDeviceGetName(self, label: Any, size: int, device: Any) -> int:
        label.value = b"Orin"
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        ctypes.cast(memory, ctypes.POINTER(ctypes.c_size_t))[0] = 8 << 30
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, device: Any) -> int:
        ctypes.cast(value, ctypes.POINTER(ctypes.c_int))[0] = {75: 8, 76: 7}[which]
        return 0


def test_a_gpu_is_described() -> None:
    assert present_gpu(lambda name: Driver()) == Gpu("Orin", "sm87", 8 << 30)


def test_no_driver_and_no_gpu_are_none() -> None:
    def absent(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert present_gpu(absent) is None
    assert present_gpu(lambda name: Driver(status=100)) is None  # CUDA_ERROR_NO_DEVICE


def test_no_driver_and_no_gpu_are_told_apart() -> None:
    def absent(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert gpu_obstacle(lambda name: Driver()) is None
    no_driver, no_gpu = gpu_obstacle(absent), gpu_obstacle(lambda name: Driver(status=100))
    assert no_driver is not None and no_gpu is not None
    assert str(no_driver).startswith("there is no NVIDIA driver (")
    assert "cannot open shared object file). Install the NVIDIA driver" in str(no_driver)
    assert str(no_gpu).startswith("the NVIDIA driver shows no GPU (cuInit gives 100). Look at")


@pytest.mark.gpu
def test_the_gpu_of_this_machine() -> None:
    gpu = present_gpu()
    if gpu is None:
        pytest.skip("no GPU")
    assert gpu.architecture.startswith("sm") and gpu.memory_bytes > 1 << 30
