"""What the figures were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.runtime.backends.gpu import present_gpu

__all__ = ["Machine", "describe_machine"]

_PACKAGES = (
    "vidtok-edge",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts of the machine; empty or None where it does not tell."""

    board: str
    """As the device tree names it; a PC has none."""
    l4t: str
    """A Jetson's release of Linux, NVIDIA's line about it."""
    cpu: str
    cores: int
    """That this process may use."""
    memory_gb: float | None
    """Main memory, GB of 1e9 bytes."""
    system: str
    python: str
    packages: dict[str, str]
    gpu: str
    power_mode: str
    """Of a Jetson (nvpmodel), or the CPU's frequency governor."""
    load_average: float | None
    """Of the last minute, before the first turn: whether something else was running."""
    virtual: bool | None
    """Whether the CPU says that it is a virtual machine's: neighbours may take its time."""

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        rows = [
            ("CPU", self.cpu + (", a virtual machine's" if self.virtual else "")),
            ("cores", str(self.cores)),
            ("memory", "" if self.memory_gb is None else f"{self.memory_gb:.1f} GB"),
            ("GPU", self.gpu),
            ("power mode", self.power_mode),
            ("system", self.system),
            ("Python", self.python),
            ("packages", ", ".join(f"{k} {v}" for k, v in self.packages.items())),
            (
                "load average before",
                "" if self.load_average is None else f"{self.load_average:.2f}",
            ),
        ]
        boards = [("board", self.board), ("L4T", self.l4t)]
        rows = [row for row in boards if row[1]] + rows
        return [(name, value or "not told") for name, value in rows]


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
        board,
        _text(root / "etc/nv_tegra_release").partition("\n")[0].strip("# "),
        _model_of(info) or platform.processor() or platform.machine(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        int(memory[1]) * 1024 / 1e9 if memory else None,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        packages,
        "" if gpu is None else f"{gpu.name}, {gpu.architecture}, {gpu.memory_bytes / 1e9:.1f} GB",
        _power_mode(root),
        os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        " hypervisor " in info.replace("\n", " ") if info else None,
    )


def _model_of(cpuinfo: str) -> str:
    """x86 names the model; ARM at best the board."""
    match = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else ""


def _power_mode(root: Path) -> str:
    program = shutil.which("nvpmodel")
    if program is not None:
        try:
            done = subprocess.run(
                [program, "-q"], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            if match := re.search(r"NV Power Mode:\s*(\S+)", done.stdout):
                return f"nvpmodel {match[1]}"
    governor = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return f"CPU governor {governor}" if governor else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
