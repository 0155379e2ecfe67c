"""A Jetson's meters: what tegrastats and jtop say."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vidtok_edge.runtime.bench.meters.jetson import Jtop, Tegrastats, readings_of

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


@pytest.mark.parametrize(("told", "mhz"), [(624_750, 624.75), (1575, 1575.0), (0, None)])
def test_jtop(monkeypatch: pytest.MonkeyPatch, told: int, mhz: float | None) -> None:
    """A GPU's clock is in kHz, in MHz where NVML tells it, or not told."""

    class FakeJtop:
        memory = {"RAM": {"used": 2_000_000}}  # noqa: RUF012
        power = {"tot": {"power": 7250}}  # noqa: RUF012
        cpu = {"cpu": [{"online": True, "freq": {"cur": 1_510_400}}, {"online": False}]}  # noqa: RUF012
        gpu = {"ga10b": {"freq": {"cur": told}}}  # noqa: RUF012
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
    found = {"device_mb": 2048.0, "module_w": 7.25, "cpu_mhz": 1510.4, "temperature_c": 51.5}
    assert meter.read() == found | ({} if mhz is None else {"gpu_mhz": mhz})
    meter.close()
    with pytest.raises(RuntimeError, match="stopped"):
        meter.read()
