"""A machine's settings against its reference, from files as a Jetson and a PC have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.bench.meters import checks as checks_module
from vidtok_edge.runtime.bench.meters import settings as settings_module
from vidtok_edge.runtime.bench.meters.checks import check_machine, checks_of, off_reference
from vidtok_edge.runtime.bench.meters.reference import reference_for
from vidtok_edge.runtime.bench.meters.settings import Settings, Zone, read_settings

ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "proc/meminfo": "MemTotal: 31457280 kB\nMemAvailable: 20971520 kB\nSwapTotal: 1000 kB\n"
    "SwapFree: 900 kB\n",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "2201600\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2201600\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "1300500000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1300500000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "52000\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "critical\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "104500\n",
    "sys/class/thermal/thermal_zone1/type": "pmic\n",
    "sys/class/thermal/thermal_zone1/temp": "100000\n",
}


def machine(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


GOOD = Settings(
    board="NVIDIA Jetson Orin Nano",
    gpu="Orin",
    power_mode="MAXN_SUPER",
    governors=frozenset({"schedutil"}),
    clocks_fixed=True,
    zones=(Zone(name="cpu", now=50, slows_at=99),),
    memory_free_mb=5000,
    swap_mb=4000,
    swap_used_mb=100,
    disk_free_mb=50_000,
    l4t="36.4.3",
    driver="540.4.0",
    load=0.5,
    cores=6,
)
OFF: list[tuple[str, dict[str, Any], str]] = [
    ("power mode", {"power_mode": "15W"}, "15W, expected MAXN"),
    ("clocks", {"clocks_fixed": False}, "they vary, expected fixed"),
    ("thermal headroom", {"zones": (Zone(name="gpu", now=92, slows_at=99),)}, r"7 C \(gpu, 92 C\)"),
    ("free memory", {"memory_free_mb": 300}, "300 MB, expected 700 MB"),
    ("swap", {"swap_used_mb": 3000}, "3000 of 4000 MB in use, expected 50% in use at most"),
    ("free disk", {"disk_free_mb": 10}, "10 MB, expected 2000 MB"),
    ("other work", {"load": 5.0}, "5.0 of 6 cores, expected 1.8 cores at most"),
    ("L4T", {"l4t": "35.4.1"}, "35.4.1, expected 36.4 or newer"),
]


@pytest.mark.parametrize(("name", "change", "said"), OFF)
def test_each_setting_that_is_off_is_named_alone(
    name: str, change: dict[str, Any], said: str
) -> None:
    wanted = reference_for(GOOD.board)
    assert all(checks_of(GOOD, wanted))
    off = [check for check in checks_of(replace(GOOD, **change), wanted) if not check]
    assert [check.name for check in off] == [name] and off[0].remedy
    assert re.search(said, str(off[0]))


def test_a_board_that_tells_nothing_is_not_accused() -> None:
    silent = Settings(
        board=GOOD.board,
        gpu="",
        power_mode="",
        governors=frozenset(),
        clocks_fixed=None,
        zones=(),
        memory_free_mb=None,
        swap_mb=None,
        swap_used_mb=None,
        disk_free_mb=None,
        l4t="",
        driver="",
        load=None,
        cores=1,
    )
    checks = list(checks_of(silent, reference_for(GOOD.board)))
    assert all(checks) and not any(check.found for check in checks)


def test_swap_that_is_not_there_is_not_full() -> None:
    none = replace(GOOD, swap_mb=0.0, swap_used_mb=0.0)
    [swap] = [c for c in checks_of(none, reference_for("")) if c.name == "swap"]
    assert swap and swap.found == "none"


def test_a_pc_is_held_to_a_governor_and_a_driver() -> None:
    pc = replace(GOOD, board="", gpu="NVIDIA L4", driver="470.82", l4t="")
    off = {check.name for check in checks_of(pc, reference_for("", pc.gpu)) if not check}
    assert off == {"CPU governor", "NVIDIA driver"}
    good = replace(pc, driver="550.54", governors=frozenset({"performance"}))
    assert all(checks_of(good, reference_for("", pc.gpu)))


def test_an_orin_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "nvpmodel_mode", lambda: "MAXN")
    found = read_settings(tmp_path, machine(tmp_path, ORIN))
    assert found.board == "NVIDIA Jetson AGX Orin Developer Kit" and found.l4t == "36.4.3"
    assert found.clocks_fixed and found.governors == {"schedutil"}
    assert found.zones == (Zone(name="cpu-thermal", now=52.0, slows_at=99.0),)
    assert found.memory_free_mb == pytest.approx(21474.8, abs=0.1)
    assert found.swap_used_mb == pytest.approx(0.1024)
    wanted = reference_for(found.board)
    assert wanted.name == "Jetson AGX Orin"
    assert all(checks_of(replace(found, load=0.0), wanted))


@pytest.mark.parametrize(
    "slower",
    [
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq",
        "sys/class/devfreq/17000000.gpu/min_freq",
    ],
)
def test_one_clock_that_may_fall_is_enough(tmp_path: Path, slower: str) -> None:
    found = read_settings(tmp_path, machine(tmp_path, {**ORIN, slower: "115200\n"}))
    assert found.clocks_fixed is False


def test_files_that_make_no_sense_tell_nothing(tmp_path: Path) -> None:
    nonsense = dict.fromkeys(ORIN, "?\0\n")
    found = read_settings(tmp_path / "not there" / "yet", machine(tmp_path, nonsense))
    assert (found.zones, found.l4t, found.memory_free_mb) == ((), "", None)
    assert found.disk_free_mb, "of the nearest folder that is there"
    empty = read_settings(tmp_path, tmp_path / "nothing")
    assert empty.board == "" and empty.clocks_fixed is None


def test_every_board_has_a_source_and_is_found_by_its_name() -> None:
    names = {
        "NVIDIA Jetson AGX Orin Developer Kit": "Jetson AGX Orin",
        "NVIDIA Jetson Orin NX Engineering Reference": "Jetson Orin NX, Orin Nano",
        "NVIDIA Jetson Orin Nano Engineering Reference": "Jetson Orin NX, Orin Nano",
        "NVIDIA Jetson AGX Thor Developer Kit": "Jetson Thor",
        "Raspberry Pi 5": "",
    }
    for model, name in names.items():
        reference = reference_for(model)
        assert reference.name == name and reference.source


def test_documents_name_settings_and_not_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = replace(GOOD, load=99.0, power_mode="15W")
    monkeypatch.setattr(checks_module, "read_settings", lambda folder: busy)
    assert off_reference(busy) == ("power mode: 15W, expected MAXN",)
    assert [check.name for check in check_machine() if not check] == ["power mode", "other work"]

    def absent(*models: str) -> Any:
        raise MissingDependency("tomli", "meters", "Checking this machine")

    monkeypatch.setattr(checks_module, "reference_for", absent)
    assert off_reference(busy) == (), "a benchmark does not fail for it"
    with pytest.raises(MissingDependency, match="vidtok-edge\\[meters\\]"):
        check_machine()
