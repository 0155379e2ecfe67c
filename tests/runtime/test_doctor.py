"""What `doctor` finds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil

import pytest

from vidtok_edge.runtime import doctor
from vidtok_edge.runtime.gpu import Gpu


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
