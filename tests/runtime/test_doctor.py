"""What `doctor` finds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
from pathlib import Path

import onnxruntime
import pytest

from vidtok_edge.runtime import doctor
from vidtok_edge.runtime.backends import onnxruntime_cuda
from vidtok_edge.runtime.backends.gpu import Gpu, Obstacle


def findings() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_both_tensorrts_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(distribution: str) -> str:
        if distribution in ("tensorrt-cu13", "tensorrt-rtx"):
            return "1.2.3"
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = findings()
    assert found["tensorrt"].found == found["tensorrt-rtx"].found == "1.2.3"
    assert not found["torch"] and "vidtok-edge[export]" in found["torch"].install


def test_an_absent_tensorrt_comes_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(distribution: str) -> str:
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = findings()
    assert found["tensorrt"].install == 'pip install "vidtok-edge[tensorrt]"'
    assert found["tensorrt-rtx"].install == 'pip install "vidtok-edge[tensorrt-rtx]"'


def test_a_jetson_gets_its_tensorrt_from_apt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(distribution: str) -> str:
        raise importlib.metadata.PackageNotFoundError(distribution)

    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3\n")
    monkeypatch.setattr(doctor, "_JETSON", release)
    monkeypatch.setattr(importlib.metadata, "version", version)
    found = findings()
    assert found["Jetson"].found == "# R36 (release), REVISION: 4.3"
    assert found["tensorrt"].install == "sudo apt install python3-libnvinfer"
    for name in ("tensorrt", "tensorrt-rtx", "cuda-bindings"):
        assert "vidtok-edge[" not in found[name].install, "an extra that cannot be installed there"
    assert "vidtok-edge[video]" in found["av"].install


def test_a_gpu_is_seen_where_nvidia_smi_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(doctor, "present_gpu", lambda: Gpu("Orin", "sm87", 1 << 33))
    assert findings()["NVIDIA GPU"].found == "Orin, sm87"


def test_every_package_of_an_extra_is_looked_for() -> None:
    required = importlib.metadata.requires("vidtok-edge")
    assert required is not None
    wanted = {re.split(r"[^\w-]", line)[0] for line in required if "extra ==" in line}
    looked_for = {name for names, _, _ in doctor._PACKAGES for name in names}
    assert wanted - looked_for - {"onnxruntime", "onnxruntime-gpu"} == set()


@pytest.mark.parametrize("gpu", [None, Gpu("Orin", "sm87", 1 << 33)])
def test_engines_are_enough_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None
) -> None:
    present = {"cuda", "tensorrt"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in present or None)
    monkeypatch.setattr(doctor, "present_gpu", lambda: gpu)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = findings()
    assert found["onnxruntime"].needed == (gpu is None)
    assert found["NVIDIA GPU"].found == ("Orin, sm87" if gpu else "")


def test_cuda_is_found_only_where_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime_cuda, "cuda_obstacle", lambda: None)
    assert findings()["backend cuda"].found == "CUDAExecutionProvider"
    obstacle = Obstacle("there is no NVIDIA driver", "Install the NVIDIA driver")
    monkeypatch.setattr(onnxruntime_cuda, "cuda_obstacle", lambda: obstacle)
    found = findings()["backend cuda"]
    assert not found and found.install == str(obstacle)
