"""TensorRT-RTX as a provider of ONNX Runtime, on a stand-in: the CPU's kernels, memory apart.

A value of the stand-in's memory is reached by `copy_tensors` alone, as one of a real plugin is.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from tiny_calls import run_flat

from vidtok_edge.errors import BackendUnavailable, DeviceError, StreamError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends import onnxruntime_rtx as rtx
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.gpu import Obstacle
from vidtok_edge.runtime.backends.step import Step, poison
from vidtok_edge.runtime.bench.measuring.candidate import candidates_of
from vidtok_edge.runtime.manifest.graphs import Placement

pytestmark = pytest.mark.skipif(
    not hasattr(ort, "copy_tensors"), reason="this ONNX Runtime takes no plugins"
)
NAME, PLUGIN = "NvTensorRTRTXExecutionProvider", "onnxruntime_ep_nv_tensorrt_rtx"
BACKEND = Backend.ONNXRUNTIME_RTX


class Plugin:
    """The package, ONNX Runtime with it, and a GPU.

    Attributes:
        devices: what it offers once it is registered.
        registered: libraries, in order.
        made: names of memory in which values were made.
        copies: bytes of each copy by `copy_tensors`.
        left_over: what ONNX Runtime says of nodes that the plugin does not take.
        memory: of the inputs of a session, by name.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.devices = [SimpleNamespace(ep_name=NAME, memory_info=lambda kind: self)]
        self.registered: list[str] = []
        self.made: list[str] = []
        self.copies: list[int] = []
        self.left_over, self.memory = "", "TensorRTRTX"
        self._there: list[Any] = []
        real_session, plain = ort.InferenceSession, ort.SessionOptions
        make, plugin = ort.OrtValue.ortvalue_from_shape_and_type, self

        class Options(plain):  # type: ignore[misc, valid-type]  # a class known when it runs
            entries: dict[str, str]
            given: list[Any]

            def add_session_config_entry(self, key: str, value: str) -> None:
                self.__dict__.setdefault("entries", {})[key] = value

            def add_provider_for_devices(self, devices: list[Any], options: Any) -> None:
                self.given = devices

        def session(path: str, options: Any, **_: Any) -> Any:
            assert options.given == plugin.devices[:1]
            assert options.entries == {"session.disable_cpu_ep_fallback": "1"}
            if plugin.left_over:
                raise RuntimeError(f"[ONNXRuntimeError] : 1 : FAIL : {plugin.left_over}")
            made = real_session(path, plain(), providers=["CPUExecutionProvider"])
            count = len(made.get_inputs())
            made.get_input_memory_infos = lambda: [SimpleNamespace(name=plugin.memory)] * count
            return made

        def empty(shape: Any, dtype: Any, *place: Any, memory_info: Any = None) -> Any:
            value = make(shape, dtype, *place)
            if memory_info is not None:
                assert memory_info is plugin
                plugin.made.append(str(dtype))
                plugin._there.append(value)
            return value

        def copied(sources: list[Any], targets: list[Any], stream: Any = None) -> None:
            for source, target in zip(sources, targets, strict=True):
                near = [any(it is value for it in plugin._there) for value in (source, target)]
                assert near.count(True) == 1, "between the host and the device"
                plugin.copies.append(source.numpy().nbytes)
                np.copyto(target.numpy(), source.numpy())

        module = SimpleNamespace(
            get_ep_name=lambda: NAME, get_library_path=lambda: "libplugin.so", __version__="0.5.0"
        )
        monkeypatch.setitem(sys.modules, PLUGIN, module)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        monkeypatch.setattr(rtx, "gpu_obstacle", lambda: None)
        monkeypatch.setattr(ort, "SessionOptions", Options)
        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", staticmethod(empty))
        monkeypatch.setattr(ort, "copy_tensors", copied)
        monkeypatch.setattr(ort, "get_ep_devices", self._offered)
        monkeypatch.setattr(ort, "register_execution_provider_library", self._register)

    def _offered(self) -> list[Any]:
        cpu = SimpleNamespace(ep_name="CPUExecutionProvider")
        return [cpu, *(self.devices if self.registered else [])]

    def _register(self, name: str, path: str) -> None:
        assert name == NAME
        self.registered.append(path)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    return Plugin(monkeypatch)


def opened(folder: Path) -> Step:
    return open_step(folder, Bundle.load(folder).manifest.graph("encoder"), BACKEND)


# --- running ------------------------------------------------------------------------------------


def test_state_goes_from_call_to_call_in_memory_of_the_device(tiny: Path, plugin: Plugin) -> None:
    with opened(tiny) as step:
        assert step.info and step.info.active == BACKEND
        assert step.info.library == f"onnxruntime {ort.__version__}, {PLUGIN} 0.5.0"
        assert len(plugin.made) == 3 + 2, "the inputs, and both sets of the cache"
        plugin.copies.clear()
        assert run_flat(step, (3, 5), start=True) == [3, 5]
        assert run_flat(step, (1, 2)) == [4, 7]
        frames, controls = 2 * 4 * 16 * 16 * 3, 2
        assert plugin.copies == [frames, controls, controls] * 2, "no cache was copied"
        assert step.caches()["cache_000"][:, 0].tolist() == [4, 7]
        kept = step.caches()
        run_flat(step, (9, 9))
        step.set_caches(kept)
        assert run_flat(step, (1, 2)) == [5, 9]
        poison(step)
        assert run_flat(step, (3, 5), start=True) == [3, 5]
    assert plugin.registered == ["libplugin.so"], "once"
    with pytest.raises(StreamError, match="closed"):
        step.run()


def test_caches_that_the_cpu_reads_are_said(tiny: Path, plugin: Plugin) -> None:
    plugin.memory = "Cpu"
    with opened(tiny) as step:
        assert "1 of 1 caches are read on the CPU" in step.info.fell_back
        assert run_flat(step, (3, 5), start=True) == [3, 5]
        assert not plugin.copies


def test_a_call_that_fails_there_names_the_backend(tiny: Path, plugin: Plugin) -> None:
    step = opened(tiny)

    def fails(values: Any) -> None:
        raise RuntimeError("CUDA failure 719")

    step._session.run_with_iobinding = fails  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match=rf"fails on {BACKEND}: CUDA failure 719"):
        step.run()


# --- not running --------------------------------------------------------------------------------


def refusal(folder: Path) -> str:
    with pytest.raises(BackendUnavailable, match=f"The backend '{BACKEND}' cannot run") as caught:
        opened(folder)
    return str(caught.value)


def test_why_it_does_not_run(tiny: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin.left_over = "This session contains graph nodes that are assigned to the default CPU EP"
    assert "default CPU EP (all of a graph must run there)" in refusal(tiny)
    plugin.devices.clear()
    assert "finds no GPU that it supports. It needs Ampere (RTX 30) or later" in refusal(tiny)

    plugin.registered.clear()

    def broken(name: str, path: str) -> None:
        raise RuntimeError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(ort, "register_execution_provider_library", broken)
    said = refusal(tiny)
    assert "does not load: libcudart.so.13: cannot open" in said and "pip install" in said
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert f"{PLUGIN} is not installed. Install it with: pip install" in refusal(tiny)
    none = Obstacle("there is no NVIDIA driver", "Install the NVIDIA driver")
    monkeypatch.setattr(rtx, "gpu_obstacle", lambda: none)
    assert "there is no NVIDIA driver" in refusal(tiny)
    monkeypatch.setattr(ort, "__version__", "1.27.0")
    assert (
        "onnxruntime 1.27.0 holds no values in memory of a plugin. Install it with: pip inst"
        in (refusal(tiny))
    )


def test_it_is_asked_for_by_name_and_runs_graphs_for_tensorrt(tiny: Path) -> None:
    assert BACKEND.target is None and BACKEND.placement is Placement.TENSORRT
    [candidate] = candidates_of([tiny], [BACKEND])
    assert str(candidate) == f"bundle {BACKEND} fp32"


def test_the_calls_that_are_made_exist() -> None:
    """Of the real ONNX Runtime that is installed here."""
    [device] = [it for it in ort.get_ep_devices() if it.ep_name == "CPUExecutionProvider"]
    assert hasattr(device, "memory_info")
    assert hasattr(ort.OrtDeviceMemoryType, "DEFAULT")
    for name in ("register_execution_provider_library", "copy_tensors"):
        assert callable(getattr(ort, name))
    value = ort.OrtValue.ortvalue_from_shape_and_type([2], np.dtype("float16"), memory_info=None)
    assert value.shape() == [2]
    assert hasattr(ort.SessionOptions(), "add_provider_for_devices")
