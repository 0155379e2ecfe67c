"""What known devices could do at most: peak rates, memory and its bandwidth, from data sheets.

Dense rates; sheets that tell only those for sparse weights were halved. FP16 is that of the tensor
cores, FP32 that of the CUDA cores: our fp32 engines do not use TF32. Peaks are never reached.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.runtime.manifest.graphs import Precision

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["DEVICES", "Device"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU, or a board with one.

    Attributes:
        name: as people call it.
        memory_gb: of the device, 10^9 bytes; on a board shared with the system.
        bandwidth_gbs: of that memory, 10^9 bytes per second.
        fp32_tflops: CUDA cores, a multiply-add counted as two.
        fp16_tflops: tensor cores, dense.
        int8_tops: tensor cores, dense.
        source: where the numbers were read, and what was not found.
        shared: the memory is the system's too.
    """

    name: str
    memory_gb: float
    bandwidth_gbs: float
    fp32_tflops: float
    fp16_tflops: float
    int8_tops: float
    source: str
    shared: bool = False

    def operations_per_second(self, precision: Precision) -> float:
        """Of the units that compute in `precision`; a multiply-add is two operations."""
        rate = {"fp32": self.fp32_tflops, "fp16": self.fp16_tflops, "int8": self.int8_tops}
        return rate[precision] * 1e12


def _devices() -> tuple[Device, ...]:
    with Path(__file__).with_name("devices.toml").open("rb") as file:
        rows = tomllib.load(file)["device"]
    return tuple(Device(**row) for row in rows)


DEVICES: tuple[Device, ...] = _devices()
"""In the order of `devices.toml`, where each row says where its numbers were read."""
