"""What the figures were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.bench.document import Machine
from vidtok_edge.runtime.bench.meters.checks import off_reference
from vidtok_edge.runtime.bench.meters.settings import nvpmodel_mode

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
    info = _text(root / "proc/cpuinfo")
    board = _text(root / "proc/device-tree/model").strip("\0\n ")
    memory = re.search(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"))
    gpu = present_gpu()
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Machine(
        board=board,
        l4t=_text(root / "etc/nv_tegra_release").partition("\n")[0].strip("# "),
        cpu=_model_of(info) or platform.processor() or platform.machine(),
        cores=_cores(),
        memory_gb=int(memory[1]) * 1024 / 1e9 if memory else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=packages,
        gpu=""
        if gpu is None
        else f"{gpu.name}, {gpu.architecture}, {gpu.memory_bytes / 1e9:.1f} GB",
        power_mode=_power_mode(root),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        virtual=" hypervisor " in info.replace("\n", " ") if info else None,
        off_reference=off_reference(),
    )


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0


def _model_of(cpuinfo: str) -> str:
    """x86 names the model; ARM at best the board."""
    match = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else ""


def _power_mode(root: Path) -> str:
    if mode := nvpmodel_mode():
        return f"nvpmodel {mode}"
    governor = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return f"CPU governor {governor}" if governor else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
