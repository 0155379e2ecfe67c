"""Everything that one run measured, and where."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime
import torch
from paired import Table
from processes import Import, Memory
from streams import Flat, Overhead


@dataclass
class Results:
    """None and empty lists stand for what was not asked for."""

    machine: dict[str, str]
    runs: int
    tables: list[Table] = field(default_factory=list)
    overhead: list[Overhead] = field(default_factory=list)
    imports: Import | None = None
    memory: Memory | None = None
    flat: Flat | None = None
    notes: list[str] = field(default_factory=list)


def machine_facts() -> dict[str, str]:
    return {
        "CPU": cpu_model(),
        "cores": str(os.cpu_count()),
        "OS": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "torch threads": str(torch.get_num_threads()),
        "onnxruntime": onnxruntime.__version__,
        "load average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
