"""What known devices could do at most: peak rates, memory and its bandwidth, from data sheets.

Dense rates; sheets that tell only those for sparse weights were halved. FP16 is that of the tensor
cores, FP32 that of the CUDA cores: our fp32 engines do not use TF32. Peaks are never reached.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.manifest import Precision

__all__ = ["DEVICES", "Device"]


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a board with one.

    Attributes:
        name: as people call it.
        memory_gb: of the device, 10^9 bytes; on a board shared with the system.
        bandwidth_gbs: of that memory, 10^9 bytes per second.
        fp32_tflops: CUDA cores, a multiply-add counted as two.
        fp16_tflops: tensor cores, dense.
        int8_tops: tensor cores, dense.
        source: the document that the numbers are from.
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


_DERIVED = "rates found again from units x clock; the rest from memory, check"
_ORIN = f"Jetson Orin series data sheets, GPU alone without DLA, half the sparse rates; {_DERIVED}"
_NANO = "Jetson Orin Nano data sheet, half the sparse rates; compared with a description of it"
_THOR = f"Jetson Thor data sheet; INT8 taken as its dense FP8 rate, FP16 as half of it; {_DERIVED}"
_ADA = "Ada GPU architecture white paper, FP16 with FP16 accumulation"
_GA102 = f"GA102 white paper, FP16 with FP16 accumulation; {_DERIVED}"
_HOPPER = "H100 and H200 data sheets, half the sparse rates; compared with an excerpt of them"

DEVICES: tuple[Device, ...] = (
    Device("Orin Nano 8GB", 8, 68, 1.28, 10, 20, _NANO, shared=True),
    Device("Orin Nano 8GB Super", 8, 102, 2.09, 16.7, 33.5, _NANO, shared=True),
    Device("Orin NX 8GB", 8, 102, 1.57, 12.5, 25, _ORIN, shared=True),
    Device("Orin NX 8GB Super", 8, 102, 2.40, 19.2, 38.4, _ORIN, shared=True),
    Device("Orin NX 16GB", 16, 102, 1.88, 15, 30, _ORIN, shared=True),
    Device("Orin NX 16GB Super", 16, 102, 2.40, 19.2, 38.4, _ORIN, shared=True),
    Device("AGX Orin 32GB", 32, 204.8, 3.33, 27, 54, _ORIN, shared=True),
    Device("AGX Orin 64GB", 64, 204.8, 5.33, 42.5, 85, _ORIN, shared=True),
    Device("Thor T4000", 64, 273, 4.7, 150, 300, _THOR, shared=True),
    Device("Thor T5000 (AGX Thor)", 128, 273, 8.06, 258, 517, _THOR, shared=True),
    Device("T4", 16, 320, 8.1, 65, 130, "T4 data sheet; compared with a description of it"),
    Device("RTX 3060 12GB", 12, 360, 12.7, 51, 102, _GA102),
    Device("RTX 3090", 24, 936, 35.6, 142, 284, _GA102),
    Device("RTX 4060", 8, 272, 15.1, 60, 121, f"{_ADA}; {_DERIVED}"),
    Device("RTX 4070", 12, 504, 29.1, 117, 233, f"{_ADA}; {_DERIVED}"),
    Device("RTX 4090", 24, 1008, 82.6, 330, 661, f"{_ADA}; compared with two descriptions of it"),
    Device("RTX 5090", 32, 1792, 104.8, 419, 838, "RTX Blackwell GPU architecture white paper, "
           "FP16 with FP16 accumulation; compared with a description of it"),
    Device("A10", 24, 600, 31.2, 125, 250, f"A10 data sheet; {_DERIVED}"),
    Device("L4", 24, 300, 30.3, 121, 242, f"L4 data sheet, half the sparse rates; {_DERIVED}"),
    Device("A100 80GB", 80, 2039, 19.5, 312, 624, "A100 80GB SXM data sheet, https://www.nvidia.com"
           "/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-"
           "1758950-r4-web.pdf; compared with an excerpt of it"),
    Device("H100 SXM", 80, 3350, 67, 989, 1979, _HOPPER),
    Device("H200", 141, 4800, 67, 989, 1979, _HOPPER),
)  # fmt: skip
"""Each `source` says how far its row was checked; none was read off the original document."""
