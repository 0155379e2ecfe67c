"""CUDA's bindings: what keeps them from starting is said, and the fake has what they have."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from fake_gpu import Error, FakeApi

from vidtok_edge.errors import BackendUnavailable, MissingDependency
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.cuda import DEFAULT_STREAM, load_cuda


def raising(error: Exception) -> Callable[[str], Any]:
    def import_module(name: str) -> Any:
        raise error

    return import_module


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_without_cuda_bindings(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ModuleNotFoundError("No module named 'cuda'", name="cuda")
    monkeypatch.setattr(importlib, "import_module", raising(absent))
    with pytest.raises(MissingDependency, match=rf'pip install "vidtok-edge\[{target}\]"'):
        load_cuda(target)
    broken = ImportError("libcudart.so.13: cannot open shared object file")
    monkeypatch.setattr(importlib, "import_module", raising(broken))
    with pytest.raises(BackendUnavailable, match=r"libcudart.so.13.*cuda-bindings<13"):
        load_cuda(Target.TENSORRT)


def test_a_driver_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    api.failing["cudaGetDeviceCount"] = Error.LAUNCH_FAILURE
    monkeypatch.setattr(importlib, "import_module", lambda name: api)
    with pytest.raises(BackendUnavailable, match=r"cudaErrorLaunchFailure \(719\).*driver"):
        load_cuda(Target.TENSORRT)


def test_bindings_that_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 12.8 does without a driver, or where that is too old for a call."""

    class Raising(FakeApi):
        def cudaGetDeviceCount(self) -> int:
            raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(importlib, "import_module", lambda name: Raising())
    with pytest.raises(BackendUnavailable, match=r"start: cudaGetDeviceCount failed: Failed to dl"):
        load_cuda(Target.TENSORRT)


def test_a_thread_that_uses_another_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sidecar was held to the first one, and other threads use that."""
    api = FakeApi()
    monkeypatch.setattr(importlib, "import_module", lambda name: api)
    assert load_cuda(Target.TENSORRT).device() == 0
    api.number = 1
    with pytest.raises(BackendUnavailable, match=r"thread is GPU 1, .*CUDA_VISIBLE_DEVICES=1\."):
        load_cuda(Target.TENSORRT)


def test_every_call_exists_in_the_bindings() -> None:
    real = pytest.importorskip("cuda.bindings.runtime")
    made = [name for name in vars(FakeApi) if name.startswith("cuda")]
    assert len(made) > 20 and all(hasattr(real, name) for name in made)
    assert (
        real.cudaMemcpyKind.cudaMemcpyHostToDevice == FakeApi.cudaMemcpyKind.cudaMemcpyHostToDevice
    )
    assert hasattr(real.cudaStreamCaptureMode, "cudaStreamCaptureModeThreadLocal")
    for kind in (FakeApi.cudaMemcpyKind, FakeApi.cudaMemoryType, FakeApi.cudaDeviceAttr):
        names = getattr(real, next(name for name, it in vars(FakeApi).items() if it is kind))
        assert {name: int(getattr(names, name)) for name in vars(kind)} == vars(kind)
    for flag in ("cudaHostAllocMapped", "cudaMemAttachGlobal", "cudaStreamNonBlocking"):
        assert int(getattr(real, flag)) == getattr(FakeApi, flag)
    assert int(real.cudaStreamLegacy) == DEFAULT_STREAM == FakeApi().default.handle


def test_the_real_bindings_without_a_gpu() -> None:
    pytest.importorskip("cuda.bindings.runtime")
    from vidtok_edge.runtime.backends.gpu import present_gpu

    if present_gpu() is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailable, match="CUDA does not start: cudaGetDeviceCount failed"):
        load_cuda(Target.TENSORRT)
