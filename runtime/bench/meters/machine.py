"""What the figures were measured on."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path

from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.bench.machine import Machine
from vidtok_edge.runtime.bench.meters.checks import off_reference
from vidtok_edge.runtime.bench.meters.settings import Settings, read_settings, text_of

__all__ = ["describe_machine"]

_PACKAGES = (
    "vidtok-edge",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
)


def describe_machine(root: Path = Path("/")) -> Machine:
    """This machine, from `root` on (for tests), its libraries and its driver."""
    info, settings = text_of(root / "proc/cpuinfo"), read_settings(root=root)
    memory = re.search(r"MemTotal:\s+(\d+) kB", text_of(root / "proc/meminfo"))
    gpu = present_gpu()
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Machine(
        board=settings.board,
        l4t=text_of(root / "etc/nv_tegra_release").partition("\n")[0].strip("# "),
        cpu=_model_of(info) or platform.processor() or platform.machine(),
        cores=settings.cores,
        memory_gb=int(memory[1]) * 1024 / 1e9 if memory else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=packages,
        gpu=""
        if gpu is None
        else f"{gpu.name}, {gpu.architecture}, {gpu.memory_bytes / 1e9:.1f} GB",
        power_mode=_power_mode(settings, root),
        load_average=settings.load,
        virtual=" hypervisor " in info.replace("\n", " ") if info else None,
        off_reference=off_reference(settings),
    )


def _model_of(cpuinfo: str) -> str:
    """x86 names the model; ARM at best the board."""
    match = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else ""


def _power_mode(settings: Settings, root: Path) -> str:
    if settings.power_mode:
        return f"nvpmodel {settings.power_mode}"
    governor = text_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return f"CPU governor {governor}" if governor else ""
