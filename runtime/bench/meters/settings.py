"""How this machine is set now: power mode, clocks, temperatures, memory, disk, other work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.runtime.backends.gpu import present_gpu

__all__ = ["Settings", "Zone", "driver_version", "nvpmodel_mode", "read_settings", "text_of"]

_SLOWING = ("active", "passive", "hot", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A thermal zone of the kernel, in degrees Celsius."""

    name: str
    now: float
    slows_at: float
    """The first of its trip points, from which on the kernel cools, slows down or stops."""

    @property
    def headroom(self) -> float:
        return self.slows_at - self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was found; empty or None where the machine does not tell.

    Attributes:
        board: the model in the device tree.
        gpu: as its driver calls it.
        power_mode: as nvpmodel tells.
        governors: of the frequency of all CPUs.
        clocks_fixed: whether the lowest clock that is allowed is the highest: of all CPUs, and of
            a Jetson's GPU.
        zones: those that have trip points.
        memory_free_mb: available without swapping, MB of 1e6 bytes.
        swap_mb, swap_used_mb: none where there is no swap.
        disk_free_mb: where the bundle or the recording lies.
        l4t: release of a Jetson's Linux, as `36.4.3`.
        driver: of the GPU.
        load: of the last minute, processes that could run.
        cores: that this process may use.
    """

    board: str
    gpu: str
    power_mode: str
    governors: frozenset[str]
    clocks_fixed: bool | None
    zones: tuple[Zone, ...]
    memory_free_mb: float | None
    swap_mb: float | None
    swap_used_mb: float | None
    disk_free_mb: float | None
    l4t: str
    driver: str
    load: float | None
    cores: int


def read_settings(folder: Path = Path(), root: Path = Path("/")) -> Settings:
    """Those of this machine.

    Args:
        folder: whose disk is meant; its nearest parent that exists.
        root: where the system's files begin, for tests.
    """
    memory = _memory(root / "proc/meminfo")
    swap, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
    gpu = present_gpu()
    return Settings(
        board=text_of(root / "proc/device-tree/model").strip("\0\n "),
        gpu="" if gpu is None else gpu.name,
        power_mode=nvpmodel_mode(),
        governors=frozenset(
            text
            for file in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
            if (text := text_of(file).strip())
        ),
        clocks_fixed=_clocks_fixed(root),
        zones=_zones(root / "sys/class/thermal"),
        memory_free_mb=memory.get("MemAvailable"),
        swap_mb=swap,
        swap_used_mb=None if swap is None or swap_free is None else swap - swap_free,
        disk_free_mb=_disk_free_mb(folder),
        l4t=_l4t(text_of(root / "etc/nv_tegra_release")),
        driver=driver_version(root),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        cores=_cores(),
    )


def nvpmodel_mode() -> str:
    """The power mode of a Jetson; empty where there is no nvpmodel, or it does not tell."""
    program = shutil.which("nvpmodel")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "-q"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return found[1] if found else ""


def driver_version(root: Path = Path("/")) -> str:
    """Of an NVIDIA GPU, where its kernel module tells."""
    found = re.search(r"\d+\.\d+(?:\.\d+)?", text_of(root / "proc/driver/nvidia/version"))
    return found[0] if found else ""


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0


def _memory(file: Path) -> dict[str, float]:
    """Of meminfo, in MB of 1e6 bytes."""
    rows = re.findall(r"^(\w+):\s+(\d+) kB", text_of(file), re.MULTILINE)
    return {name: int(kib) * 1024 / 1e6 for name, kib in rows}


def _clocks_fixed(root: Path) -> bool | None:
    """The lowest clock that is allowed against the highest, of CPUs and of what devfreq calls a
    GPU."""
    pairs = [
        (folder / "scaling_min_freq", folder / "scaling_max_freq")
        for folder in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    ]
    pairs += [
        (folder / "min_freq", folder / "max_freq")
        for folder in root.glob("sys/class/devfreq/*")
        if re.search(r"gpu|\.g[av]\d", folder.name)
    ]
    told = [(text_of(low).strip(), text_of(high).strip()) for low, high in pairs]
    known = [(low, high) for low, high in told if low and high]
    return all(low == high for low, high in known) if known else None


def _zones(folder: Path) -> tuple[Zone, ...]:
    zones = []
    for zone in sorted(folder.glob("thermal_zone*")):
        now = _degrees(zone / "temp")
        trips = [
            degrees
            for file in zone.glob("trip_point_*_type")
            if text_of(file).strip() in _SLOWING
            and (degrees := _degrees(zone / file.name.replace("_type", "_temp"))) is not None
            and degrees > 0  # a trip point that is off says 0 or less
        ]
        if now is not None and trips:
            name = text_of(zone / "type").strip() or zone.name
            zones.append(Zone(name=name, now=now, slows_at=min(trips)))
    return tuple(zones)


def _degrees(file: Path) -> float | None:
    try:
        return int(text_of(file)) / 1000
    except ValueError:
        return None


def _disk_free_mb(folder: Path) -> float | None:
    there = next((it for it in (folder, *folder.absolute().parents) if it.is_dir()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free / 1e6
    except OSError:
        return None


def _l4t(line: str) -> str:
    """`36.4.3` of `# R36 (release), REVISION: 4.3, GCID: ...`."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", line)
    return f"{found[1]}.{found[2]}" if found else ""


def text_of(file: Path) -> str:
    """Of a file that may not be there; empty where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
