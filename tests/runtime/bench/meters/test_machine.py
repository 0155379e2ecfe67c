"""Facts of the machine."""

from __future__ import annotations

import os
from pathlib import Path

from sys_files import zone

from vidtok_edge.runtime.bench.meters.machine import describe_machine


def test_a_machine_describes_itself(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name\t: A CPU\nflags\t: fpu hypervisor lm\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:       8000000 kB\n")
    zone(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq", scaling_governor="performance")
    machine = describe_machine(tmp_path)
    assert (machine.cpu, machine.virtual, machine.memory_gb) == ("A CPU", True, 8.192)
    assert (
        machine.power_mode.endswith(("performance", "nvpmodel")) or "nvpmodel" in machine.power_mode
    )
    assert machine.board == machine.l4t == "" and "board" not in dict(machine.rows())
    assert machine.packages["numpy"] and 1 <= machine.cores <= (os.cpu_count() or 1)
    assert "not told" in dict(describe_machine(tmp_path / "nothing").rows())["memory"]


def test_a_jetson_names_its_board_beside_its_cpu(tmp_path: Path) -> None:
    zone(tmp_path, "proc", cpuinfo="processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)")
    zone(tmp_path, "proc/device-tree", model="NVIDIA Jetson Orin Nano Developer Kit\0")
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64"
    zone(tmp_path, "etc", nv_tegra_release=release + "\n# KERNEL_VARIANT: oot")
    machine = describe_machine(tmp_path)
    rows = dict(machine.rows())
    assert rows["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert rows["L4T"] == release[2:]
    assert rows["CPU"] == "ARMv8 Processor rev 1 (v8l)"
