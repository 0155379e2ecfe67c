"""What known devices could do at most: peak rates, memory and its bandwidth, from data sheets.

Dense rates; sheets that tell only those for sparse weights were halved. FP16 is that of the tensor
cores, FP32 that of the CUDA cores: our fp32 engines do not use TF32. Peaks are never reached.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.manifest.graphs import Precision

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


_SUPER = (
    "JetPack 6.2 Brings Super Mode, https://developer.nvidia.com/blog/nvidia-jetpack-6-2-brings-"
    "super-mode-to-nvidia-jetson-orin-nano-and-jetson-orin-nx-modules/ (as quoted elsewhere): "
)
_NANO = (
    "Jetson Orin Nano data sheet, https://www.scribd.com/document/673174036/Orin-nano-datasheet: "
    "1024 cores, 625 MHz; 40 sparse INT8 TOPS and 68 GB/s as quoted elsewhere"
)
_NX = (
    "Jetson Orin NX data sheet DS-10712-001, https://developer.nvidia.com/embedded/jetson-orin-nx "
    "(as quoted elsewhere): 1024 cores, "
)
_AGX = (
    "Jetson AGX Orin technical brief, http://mzph.cn/web/30785.shtml quotes it: 2048 cores, 5.3 "
    "FP32 TFLOPS, 170 sparse INT8 TOPS of the GPU; "
)
_THOR = (
    "https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-thor/ (as quoted "
    "elsewhere): 2070 sparse FP4 TFLOPS, 273 GB/s, 128 GB. A quarter of that is dense FP8; INT8 "
    "was not found and is taken to be the same, FP16 half of it; FP32 of 2560 cores at 1.57 GHz, "
    "https://torring.dev/blog/2026/rtx-spark-throttling/"
)
_T4000 = (
    "https://developer.nvidia.com/blog/accelerate-ai-inference-for-edge-and-robotics-with-nvidia-"
    "jetson-t4000-and-nvidia-jetpack-7-1/ (as quoted elsewhere): 1200 sparse FP4 TFLOPS, 1536 "
    "cores, 64 GB, 273 GB/s; the rest as for T5000; its clock was not found, 1.53 GHz is taken"
)
_T4 = (
    "https://heise.de/news/Nvidia-Tesla-P4-K-I-Beschleuniger-mit-8-TFlops-bei-75-Watt-"
    "Leistungsaufnahme-4164684.html: 8.1, 130 INT8, 320 GB/s; 65 FP16: "
    "https://hmc-tech.com/gpu/nvidia-l4-vs-nvidia-t4"
)
_60 = (
    "https://hmc-tech.com/gpu/nvidia-geforce-rtx-4060-vs-nvidia-geforce-rtx-3060: FP32, sparse "
    "INT4; a quarter of that is dense INT8, FP16 half of it; "
)
_3090 = (
    "http://rhkb.cn/news/324462.html: 35.6 FP32, 284 INT8; FP16 half of it; 936.2 GB/s: "
    "https://cuttingedgegamer.com/2022/12/"
)
_4070 = (
    "https://cputronic.com/gpu/compare/nvidia-geforce-rtx-3060-vs-nvidia-geforce-rtx-4070: 5888 "
    "cores, 2475 MHz, 504.2 GB/s; its tensor rates were not found, taken as those of other Ada "
    "cards: 4 times FP32, and 8 times"
)
_4090 = (
    "https://waredb.com/processor/nvidia-geforce-rtx-4090: 82.58, 660.6 INT8, 1008 GB/s; FP16 half "
    "of INT8"
)
_5090 = (
    "https://www.spheron.network/blog/nvidia-rtx-5090-specs/: 838.4 sparse FP16, 1792 GB/s; FP32 "
    "of 21760 cores at 2407 MHz; INT8 was not found, taken as twice FP16"
)
_A10 = (
    "https://sysrqmts.com/ru/gpus/compare/nvidia-a10-pcie-vs-nvidia-quadro-rtx-4000: 31.24, 600.2 "
    "GB/s; 125 FP16: https://gist.github.com/kimbochen; INT8 was not found, taken as twice FP16"
)
_L4 = (
    "https://store.sourcecode.com/en-us/bg-bucket-compare/125/9820: 485 sparse INT8, 300 GB/s; "
    "30.29 FP32: https://fpsbench.com/compare/gpu/nvidia-l4-vs-nvidia-tesla-m40; FP16 half of INT8"
)
_A100 = (
    "A100 80GB SXM data sheet, https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/"
    "pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf, in excerpts; the same in "
    "http://rhkb.cn/news/324462.html"
)
_H100 = (
    "https://glennklockwood.com/garden/processors/h100: 66.9, 989.4, 1978.9, 3.35 TB/s; data sheet "
    "figures in http://rhkb.cn/news/324462.html"
)
_H200 = (
    "141 GB, 4.8 TB/s: http://rhkb.cn/news/324462.html; 66.9 FP32: https://hmc-tech.com/gpu/nvidia-"
    "h100-vs-nvidia-h200-sxm-vs-nvidia-gb200; the H100's chip and clock, so its rates"
)

DEVICES: tuple[Device, ...] = (
    Device("Orin Nano 8GB", 8, 68, 1.28, 10, 20, _NANO, shared=True),
    Device(
        "Orin Nano 8GB Super",
        8,
        102,
        2.09,
        16.7,
        33.5,
        _SUPER + "1020 MHz, 67 sparse INT8 TOPS, 102 GB/s",
        shared=True,
    ),
    Device("Orin NX 8GB", 8, 102, 1.57, 12.5, 25, _NX + "765 MHz, 102.4 GB/s", shared=True),
    Device("Orin NX 8GB Super", 8, 102, 2.40, 19.2, 38.4, _SUPER + "1173 MHz", shared=True),
    Device(
        "Orin NX 16GB",
        16,
        102,
        1.88,
        15,
        30,
        _NX + "918 MHz, 15 FP16 TFLOPS, 102.4 GB/s, 60 sparse INT8 TOPS without DLA",
        shared=True,
    ),
    Device(
        "Orin NX 16GB Super",
        16,
        102,
        2.40,
        19.2,
        38.4,
        _SUPER + "1173 MHz, 77 sparse INT8 TOPS without DLA",
        shared=True,
    ),
    Device(
        "AGX Orin 32GB",
        32,
        204.8,
        3.33,
        27,
        54,
        _AGX + "of this one Seeed's page of the "
        "reComputer Robotics J5011: 1792 cores, 930 MHz, 204.8 GB/s",
        shared=True,
    ),
    Device(
        "AGX Orin 64GB",
        64,
        204.8,
        5.33,
        42.5,
        85,
        _AGX + "Seeed's page of the reComputer Robotics J5012: 1.3 GHz, 204.8 GB/s",
        shared=True,
    ),
    Device("Thor T4000", 64, 273, 4.7, 150, 300, _T4000, shared=True),
    Device("Thor T5000 (AGX Thor)", 128, 273, 8.06, 258, 517, _THOR, shared=True),
    Device("T4", 16, 320, 8.1, 65, 130, _T4),
    Device("RTX 3060 12GB", 12, 360, 12.7, 51, 102, _60 + "360 GB/s"),
    Device("RTX 3090", 24, 936, 35.6, 142, 284, _3090),
    Device(
        "RTX 4060",
        8,
        272,
        15.1,
        60,
        121,
        _60 + "272 GB/s, not the 288 named there: "
        "https://topcpu.net/pt/gpu-c/geforce-rtx-4060-ad106-vs-geforce-rtx-2070-super",
    ),
    Device("RTX 4070", 12, 504, 29.1, 117, 233, _4070),
    Device("RTX 4090", 24, 1008, 82.6, 330, 661, _4090),
    Device("RTX 5090", 32, 1792, 104.8, 419, 838, _5090),
    Device("A10", 24, 600, 31.2, 125, 250, _A10),
    Device("L4", 24, 300, 30.3, 121, 242, _L4),
    Device("A100 80GB", 80, 2039, 19.5, 312, 624, _A100),
    Device("H100 SXM", 80, 3350, 67, 989, 1979, _H100),
    Device("H200", 141, 4800, 67, 989, 1979, _H200),
)
"""`source`: where each row's numbers were read, and what was concluded from which. Rates of boards
were also found again from cores x clock. NVIDIA's own documents were read in excerpts at best."""
