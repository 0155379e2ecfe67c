"""What the machine is, for the result and the name of its folder."""

from __future__ import annotations

import re
import shutil
import subprocess

from vidtok_edge.runtime.bench.machine import Machine

__all__ = ["driver_version", "slug_of"]


def driver_version() -> str:
    """Of the NVIDIA driver; empty where nothing tells (a Jetson names its L4T release instead)."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0]


def slug_of(machine: Machine, date: str) -> str:
    """The name of the result's folder: `2026-11-26-h200-tensorrt-10.6.0`."""
    device = machine.board or machine.gpu.partition(",")[0] or machine.cpu or "machine"
    for name in ("tensorrt", "tensorrt-rtx"):
        if name in machine.packages:
            device += f" {name} {machine.packages[name]}"
            break
    words = re.sub(r"\b(nvidia|geforce|graphics)\b", " ", device.lower())
    return f"{date}-" + re.sub(r"[^a-z0-9.]+", "-", words).strip("-")
