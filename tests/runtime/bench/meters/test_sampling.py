"""Meters: what each file, program and library says, and that none of them is ever fatal."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vidtok_edge.runtime.bench.meters.host import Host
from vidtok_edge.runtime.bench.meters.jetson import Jtop, Tegrastats, readings_of
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.bench.meters.nvml import Nvml
from vidtok_edge.runtime.bench.meters.rapl import Rapl
from vidtok_edge.runtime.bench.meters.sampling import (
    Sampler,
    missing_meters,
    open_meters,
    peak_rss_mb,
)
from vidtok_edge.runtime.bench.sample import Sample

# Lines as posted by users: NVIDIA's forums and documentation of each generation.
ORIN_NANO = (
    "11-05-2023 15:40:22 RAM 2448/7620MB (lfb 3x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [4%@1510,2%@1510,0%@1510,1%@1510,0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[624] "
    "NVDEC off NVJPG off VIC off OFA off APE 200 cpu@48.9C soc2@47.4C soc0@47.9C gpu@47.6C "
    "tj@49.2C soc1@48.6C VDD_IN 5024mW/4985mW VDD_CPU_GPU_CV 604mW/604mW VDD_SOC 1450mW/1437mW"
)
AGX_ORIN = (
    "RAM 3425/30536MB (lfb 5722x4MB) CPU [0%@729,off,0%@729] EMC_FREQ 0% GR3D_FREQ 0% CV0@-256C "
    "CPU@49.1C Tboard@37C VDD_GPU_SOC 3205mW/3205mW VDD_CPU_CV 801mW/801mW VIN_SYS_5V0 "
    "3829mW/3829mW NC 0mW/0mW"
)
NANO = (
    "RAM 1042/3964MB (lfb 413x4MB) IRAM 0/252kB(lfb 252kB) CPU [5%@102,1%@102,0%@102,0%@102] "
    "EMC_FREQ 4%@204 GR3D_FREQ 0%@76 APE 25 PLL@26.5C CPU@29C iwlwifi@32C PMIC@100C GPU@27.5C "
    "AO@35C thermal@28.25C POM_5V_IN 1532/1532 POM_5V_GPU 40/40 POM_5V_CPU 161/161"
)
AGX_THOR = (
    "08-27-2025 10:01:12 RAM 4321/125772MB (lfb 5x256MB) CPU [2%@972,0%@972] EMC_FREQ 0%@4266 "
    "GR3D_FREQ 0%@[315,315,315] cpu@41.5C tj@43C gpu@40.1C VDD_GPU 2000mW/2000mW "
    "VDD_CPU_SOC_MSS 4344mW/4344mW VIN_SYS_5V0 4837mW/4837mW VIN 18962mW/18962mW"
)


@pytest.mark.parametrize(
    "line, power_w, gpu_mhz, temperature_c, cpu_mhz, memory_mb",
    [
        (ORIN_NANO, 5.024, 624, 49.2, (4 * 1510 + 2 * 729) / 6, 2448 * 1.048576),
        (AGX_ORIN, 3.205 + 0.801 + 3.829, None, 49.1, 729, 3425 * 1.048576),
        (AGX_THOR, 18.962, 315, 43, 972, 4321 * 1.048576),
        (NANO, 1.532, 76, 35, 102, 1042 * 1.048576),
    ],
)
def test_lines_of_tegrastats(
    line: str,
    power_w: float,
    gpu_mhz: float | None,
    temperature_c: float,
    cpu_mhz: float,
    memory_mb: float,
) -> None:
    found = readings_of(line)
    assert found["module_w"] == pytest.approx(power_w)
    assert found.get("gpu_mhz") == gpu_mhz
    assert found["temperature_c"] == temperature_c
    assert found["cpu_mhz"] == pytest.approx(cpu_mhz)
    assert found["device_mb"] == pytest.approx(memory_mb, abs=0.5)


@pytest.mark.parametrize("line", ["", "garbage", "RAM x/yMB CPU [] GR3D_FREQ VDD_IN mW"])
def test_a_line_that_says_nothing(line: str) -> None:
    assert readings_of(line) == {}


def test_the_program_tegrastats(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\necho '{ORIN_NANO}'\nexec sleep 60\n")
    program.chmod(0o755)
    meter = Tegrastats(str(program))
    try:
        assert meter.read()["module_w"] == 5.024
    finally:
        meter.close()
    with pytest.raises(RuntimeError, match="says nothing"):
        meter.read()


def zone(root: Path, place: str, /, **files: object) -> None:
    folder = root / place
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_text(f"{content}\n")


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


def test_what_is_missing_without_psutil_is_said() -> None:
    assert missing_meters(["psutil", "NVML"]) == []
    [said] = missing_meters(["NVML"])
    assert "they need psutil" in said and "vidtok-edge[meters]" in said


def test_a_machine_without_rapl(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Rapl(tmp_path)


class FakeNvml:
    """pynvml of a GPU that does not tell its power, as laptops do."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        pass

    def __init__(self, gpus: int = 1) -> None:
        self.open, self.gpus = 0, gpus

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"gpu {index}"

    def nvmlDeviceGetMemoryInfo(self, gpu: str) -> Any:
        return SimpleNamespace(used=3_000_000_000 if gpu == "gpu 0" else 7_000_000_000)

    def nvmlDeviceGetPowerUsage(self, gpu: str) -> int:
        raise self.NVMLError("not supported")

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByPciBusId(self, address: bytes) -> str:
        assert address == b"0000:41:00.0"
        return "the second"

    def nvmlDeviceGetClockInfo(self, gpu: str, which: int) -> int:
        return 1755

    def nvmlDeviceGetTemperature(self, gpu: str, which: int) -> int:
        return 61


def test_nvml_leaves_out_what_it_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    meter = Nvml()
    assert meter.read() == {"device_mb": 3000, "gpu_mhz": 1755, "temperature_c": 61}
    meter.close()
    assert library.open == 0


class Cuda:
    """A libcuda that shows the second GPU alone, as with `CUDA_VISIBLE_DEVICES=1`."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        return 0

    def cuDeviceGetPCIBusId(self, address: Any, size: int, device: Any) -> int:
        address.value = b"0000:41:00.0"
        return 0


def test_nvml_meters_the_gpu_that_cuda_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    asked = []
    for gpus, load in (
        (2, lambda name: Cuda()),
        (2, lambda name: Cuda(100)),
        (2, absent),
        (1, absent),
    ):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(gpus))
        asked.append(Nvml(load).read()["device_mb"])
    assert asked == [7000, 3000, 3000, 3000]


def test_jtop(monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeJtop:
        memory = {"RAM": {"used": 2_000_000}}  # noqa: RUF012
        power = {"tot": {"power": 7250}}  # noqa: RUF012
        cpu = {"cpu": [{"online": True, "freq": {"cur": 1_510_400}}, {"online": False}]}  # noqa: RUF012
        gpu = {"ga10b": {"freq": {"cur": 624_750}}}  # noqa: RUF012
        temperature = {"tj": {"temp": 51.5, "online": True}, "cv0": {"temp": -256, "online": False}}  # noqa: RUF012

        def __init__(self, interval: float) -> None:
            self.running = False

        def start(self) -> None:
            self.running = True

        def ok(self) -> bool:
            return self.running

        def close(self) -> None:
            self.running = False

    monkeypatch.setitem(sys.modules, "jtop", SimpleNamespace(jtop=FakeJtop))
    meter = Jtop()
    assert meter.read() == {
        "device_mb": 2048.0,
        "module_w": 7.25,
        "cpu_mhz": 1510.4,
        "gpu_mhz": 624.75,
        "temperature_c": 51.5,
    }
    meter.close()
    with pytest.raises(RuntimeError, match="stopped"):
        meter.read()


class Steady:
    name = "steady"

    def __init__(self) -> None:
        self.closed = 0

    def read(self) -> dict[str, float]:
        return {"package_w": 4.0, "temperature_c": 70.0}

    def close(self) -> None:
        self.closed += 1


class Fails(Steady):
    """Works when it is opened, and never again."""

    name = "fails"
    reads = 0

    def read(self) -> dict[str, float]:
        self.reads += 1
        if self.reads > 1:
            raise OSError("gone")
        return {"gpu_mhz": 1.0}


class Stubborn(Fails):
    """Does not even close."""

    name = "stubborn"

    def close(self) -> None:
        super().close()
        raise TimeoutError("does not end")


class Unreadable(Stubborn):
    def read(self) -> dict[str, float]:
        raise OSError("not for you")


class Graphics(Steady):
    name = "graphics"

    def read(self) -> dict[str, float]:
        return {"gpu_w": 30.0, "temperature_c": 60.0}


class Absent(Steady):
    def __init__(self) -> None:
        raise ImportError("no module named absent")


def test_a_meter_that_fails_is_left_out_and_the_others_go_on() -> None:
    steady, fails = Steady(), Fails()
    opened = open_meters([lambda: fails, Absent, lambda: steady])
    sampler = Sampler(open_all=lambda: opened, interval_s=0.005)
    assert sampler.sources == ["fails", "steady"]
    began = time.monotonic_ns()
    with sampler:
        while len(sampler.between(began, time.monotonic_ns())) < 4:
            time.sleep(0.005)
    ended = time.monotonic_ns()
    samples = sampler.between(began, ended)
    assert all(s.package_w == 4.0 and s.gpu_mhz is None for s in samples)
    times = [s.time_s for s in samples]
    assert times == sorted(times) and 0 <= times[0] < times[-1] <= (ended - began) / 1e9
    assert (steady.closed, fails.closed) == (1, 1)
    later = sampler.between(began + round(1e9 * (times[1] + times[2]) / 2), ended)
    assert len(later) == len(samples) - 2 and later[0].time_s < times[2]
    assert sampler.between(ended, ended) == []


def sampled(*meters: Steady) -> list[Sample]:
    """A few readings of meters that open."""
    opened = open_meters([lambda m=m: m for m in meters])  # type: ignore[misc]
    with Sampler(open_all=lambda: opened, interval_s=0.005) as sampler:
        until = time.monotonic() + 5
        while len(sampler.samples) < 3 and time.monotonic() < until:
            time.sleep(0.005)
    return sampler.samples


def test_a_meter_that_does_not_close_is_not_fatal() -> None:
    stubborn, unreadable, steady = Stubborn(), Unreadable(), Steady()
    assert len(sampled(stubborn, unreadable, steady)) >= 3, "nor are the others silent from then on"
    assert (stubborn.closed, unreadable.closed, steady.closed) == (1, 1, 1)
    last = Stubborn()
    last.reads = -1_000_000  # reads to the end, and is closed by the exit
    sampled(last)
    assert last.closed == 1


def test_package_and_gpu_are_metered_apart() -> None:
    """Else an idle GPU's watts would stand for a CPU at work, and the reverse."""
    sample = sampled(Steady(), Graphics())[-1]
    assert (sample.package_w, sample.gpu_w, sample.power_w) == (4.0, 30.0, 34.0)
    assert sample.temperature_c == 70.0, "of the hotter place, not of the later meter"
    assert Sample(time_s=0.0, gpu_w=30.0, module_w=45.0).power_w == 45.0, (
        "a module's holds its GPU's"
    )
    assert Sample(time_s=0.0).power_w is None


def test_no_meters_when_none_are_wanted() -> None:
    with Sampler(enabled=False) as sampler:
        assert sampler.sources == []
    assert sampler.between(0, time.monotonic_ns()) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_memory_of_this_process() -> None:
    pytest.importorskip("psutil")
    now, peak = Host().read()["rss_mb"], peak_rss_mb()
    assert peak is not None and 5 < now <= peak * 1.05


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
