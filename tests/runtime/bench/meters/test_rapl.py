"""The CPU packages' energy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sys_files import zone

from vidtok_edge.runtime.bench.meters.rapl import Rapl


def test_rapl_counts_energy_and_wraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "sys/class/powercap/intel-rapl:0"
    zone(tmp_path, place, name="package-0", energy_uj=9_000_000, max_energy_range_uj=10_000_000)
    zone(tmp_path, place + ":0", name="core", energy_uj=1, max_energy_range_uj=10)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    meter = Rapl(tmp_path)
    for seconds, energy, watts in ((2.0, 9_500_000, 0.25), (0.5, 500_000, 2.0)):
        now[0] += seconds
        (tmp_path / place / "energy_uj").write_text(str(energy))
        assert meter.read() == {"package_w": pytest.approx(watts)}
    assert meter.read() == {}, "no time has passed"


def test_a_machine_without_rapl(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Rapl(tmp_path)
