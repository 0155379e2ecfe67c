"""The protocol of a step: what the fake of the tests has, the real one has too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_step import FakeStep, fake_manifest

from vidtok_edge.errors import (
    DeviceError,
    EngineMissing,
    EngineStale,
    MissingDependency,
)
from vidtok_edge.runtime.backends import choosing
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_fastest
from vidtok_edge.runtime.backends.engines.step import EngineStep
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.backends.onnxruntime import PROVIDERS, OnnxRuntimeStep
from vidtok_edge.runtime.backends.step import BackendInfo, Step


def test_all_steps_keep_the_protocol(tiny: Path) -> None:
    fake: Step = FakeStep(fake_manifest(), "encoder")  # mypy compares the signatures
    members = {name for name in vars(Step) if not name.startswith("_")} | set(Step.__annotations__)
    assert members >= {"run", "caches", "set_caches", "close", "graph", "info", "inputs", "outputs"}
    assert all(hasattr(fake, name) for name in members)
    made = set(Step.__annotations__) | {"device"}  # attributes of an instance
    for step in (OnnxRuntimeStep, EngineStep):
        assert all(hasattr(step, name) for name in members - made)


def test_every_provider_of_onnx_runtime_is_a_backend() -> None:
    assert set(PROVIDERS) < set(Backend)


@pytest.mark.parametrize("why", ["", "cuda: no driver"])
def test_info_is_false_after_a_fallback(why: str) -> None:
    info = BackendInfo("auto", "cpu", "onnxruntime 1", why)
    assert bool(info) is (why == "")
    assert (why in str(info)) and ("fell back" in str(info)) is bool(why)


# --- the fastest ------------------------------------------------------------------------------


def opening(found: dict[str, Exception | None]) -> tuple[list[str], Callable[[Backend], Step]]:
    """What opening each backend comes to, and the backends that were tried."""
    tried: list[str] = []

    def opened(name: Backend) -> Step:
        tried.append(name)
        if error := found.get(name):
            raise error
        step: Step = FakeStep(fake_manifest(), "encoder")
        step.info = BackendInfo(name, "cpu" if name == "onnxruntime" else name, "fake", "")
        return step

    return tried, opened


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "present_gpu", lambda: Gpu("Orin", "sm87", 8 << 30))


@pytest.mark.usefixtures("gpu")
def test_an_engine_that_fits_is_the_fastest() -> None:
    tried, opened = opening({"tensorrt": EngineMissing("none"), "tensorrt-rtx": None})
    step = open_fastest(opened)
    assert step.info and step.info.active == "tensorrt-rtx"
    assert tried == ["tensorrt", "tensorrt-rtx"]


@pytest.mark.usefixtures("gpu")
def test_an_engine_that_is_not_there_is_no_fallback() -> None:
    absent = MissingDependency("tensorrt_rtx", "tensorrt-rtx", "Running engines")
    tried, opened = opening({"tensorrt": EngineMissing("none"), "tensorrt-rtx": absent})
    assert open_fastest(opened).info, "nobody asked for an engine"
    assert tried[-1] == "onnxruntime"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("error", [EngineStale("old"), DeviceError("cudaMalloc failed")])
def test_an_engine_that_cannot_be_used_is_said(error: Exception) -> None:
    _, opened = opening({"tensorrt": error, "tensorrt-rtx": EngineMissing("none")})
    info = open_fastest(opened).info
    assert not info and info.fell_back == f"tensorrt: {error}"


def test_without_a_gpu_no_engine_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, opened = opening({})
    monkeypatch.setattr(choosing, "present_gpu", lambda: None)
    assert open_fastest(opened).info.asked == "auto"
    assert tried == ["onnxruntime"]
