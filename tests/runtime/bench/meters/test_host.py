"""What psutil tells of the host, and of the work of others."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vidtok_edge.runtime.bench.meters.host import Host
from vidtok_edge.runtime.bench.meters.sampling import peak_rss_mb


class FakePsutil:
    """psutil of a machine that tells everything, or, with `tells` false, next to nothing."""

    def __init__(self, tells: bool = True) -> None:
        self.tells = tells
        self.cpu = {"user": 10.0, "nice": 0.0, "system": 5.0, "idle": 90.0, "steal": 0.4}

    def Process(self) -> Any:
        return SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=123_000_000))

    def cpu_times(self) -> Any:
        cpu = dict(self.cpu)
        return SimpleNamespace(_asdict=lambda: cpu)

    def cpu_freq(self) -> Any:
        return SimpleNamespace(current=2000.0) if self.tells else None

    def sensors_temperatures(self) -> Any:
        if not self.tells:
            raise NotImplementedError
        zones = {"cpu-thermal": [41.0, 52.5], "PMIC-Die": [100.0], "cv0": [-256.0]}
        return {
            name: [SimpleNamespace(current=degrees) for degrees in values]
            for name, values in zones.items()
        }


def test_the_host_and_the_work_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In two seconds three of CPU time and one stolen; one and a half of the three are our own."""
    now, own = [10.0], [5.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: own[0])
    library = FakePsutil()
    meter = Host(library)
    now[0], own[0] = 12.0, 6.5
    library.cpu |= {"user": 12.0, "nice": 0.2, "system": 5.8, "idle": 99.0, "steal": 1.4}
    assert meter.read() == {
        "rss_mb": 123.0,
        "other_cores": pytest.approx(0.75),
        "stolen_cores": pytest.approx(0.5),
        "cpu_mhz": 2000.0,
        "temperature_c": 52.5,
    }
    assert "other_cores" not in meter.read(), "no time has passed"


def test_a_host_that_tells_next_to_nothing() -> None:
    assert Host(FakePsutil(tells=False)).read() == {"rss_mb": 123.0}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_memory_of_this_process() -> None:
    pytest.importorskip("psutil")
    now, peak = Host().read()["rss_mb"], peak_rss_mb()
    assert peak is not None and 5 < now <= peak * 1.05
