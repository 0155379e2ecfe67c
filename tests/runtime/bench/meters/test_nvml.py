"""NVML's meters: of the GPU that CUDA takes, as far as it tells."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from vidtok_edge.runtime.bench.meters.nvml import Nvml


class FakeNvml:
    """pynvml of a GPU that does not tell its power, as laptops do."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        pass

    def __init__(self, gpus: int = 1) -> None:
        self.open, self.gpus = 0, gpus

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"gpu {index}"

    def nvmlDeviceGetMemoryInfo(self, gpu: str) -> Any:
        return SimpleNamespace(used=3_000_000_000 if gpu == "gpu 0" else 7_000_000_000)

    def nvmlDeviceGetPowerUsage(self, gpu: str) -> int:
        raise self.NVMLError("not supported")

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByPciBusId(self, address: bytes) -> str:
        assert address == b"0000:41:00.0"
        return "the second"

    def nvmlDeviceGetClockInfo(self, gpu: str, which: int) -> int:
        return 1755

    def nvmlDeviceGetTemperature(self, gpu: str, which: int) -> int:
        return 61


def test_nvml_leaves_out_what_it_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    meter = Nvml()
    assert meter.read() == {"device_mb": 3000, "gpu_mhz": 1755, "temperature_c": 61}
    meter.close()
    assert library.open == 0


class Cuda:
    """A libcuda that shows the second GPU alone, as with `CUDA_VISIBLE_DEVICES=1`."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        return 0

    def cuDeviceGetPCIBusId(self, address: Any, size: int, device: Any) -> int:
        address.value = b"0000:41:00.0"
        return 0


def test_nvml_meters_the_gpu_that_cuda_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    asked = []
    for gpus, load in (
        (2, lambda name: Cuda()),
        (2, lambda name: Cuda(100)),
        (2, absent),
        (1, absent),
    ):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(gpus))
        asked.append(Nvml(load).read()["device_mb"])
    assert asked == [7000, 3000, 3000, 3000]
