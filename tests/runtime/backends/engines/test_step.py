"""The engine backend on a GPU made of host memory: streams, faults, and nothing left behind."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from engine_sidecars import sidecar_of
from fake_gpu import Error, FakeApi
from fake_tensorrt import FakeTensorRT, fake_engine
from tiny_bundle import write_tiny_bundle
from tiny_calls import run_flat

from vidtok_edge.errors import (
    BackendUnavailable,
    BundleMismatch,
    DeviceError,
    EngineMissing,
    EngineStale,
    StreamError,
)
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines import step as step_module
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.library import host_of
from vidtok_edge.runtime.backends.engines.sidecar import engine_file
from vidtok_edge.runtime.backends.engines.step import EngineStep, open_engine
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.manifest.graphs import TensorSpec
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder


def tiny_engine(
    folder: Path, api: FakeApi | None = None, library: FakeTensorRT | None = None
) -> EngineStep:
    graph = Bundle.load(folder).manifest.graph("encoder")
    return fake_engine(graph, folder / graph.file, api or FakeApi(), library)


# --- streams ----------------------------------------------------------------------------------


@pytest.mark.xdist_group("embedded")
def test_a_stream_through_engines_equals_one_through_onnx_runtime(embedded: Bundle) -> None:
    random = np.random.default_rng(3)
    frames = random.integers(0, 256, (14, 64, 96, 3), np.uint8)

    def through(encoder: Any, decoder: Any) -> tuple[list[Any], list[Any]]:
        tokens, pictures = [], []
        with encoder, decoder:
            for _ in range(2):  # the second stream begins on what the first one left
                for frame in frames:
                    for latents in encoder.push(frame):
                        tokens.append(latents.tokens)
                        pictures += [p.pixels for p in decoder.push(latents)]
                for latents in encoder.finish():
                    tokens.append(latents.tokens)
                    pictures += [p.pixels for p in decoder.push(latents)]
                pictures += [p.pixels for p in decoder.finish()]
        return tokens, pictures

    wanted = through(embedded.encoder("cpu", threads=1), embedded.decoder("cpu", threads=1))
    api, steps = FakeApi(), []
    for kind in ("encoder", "decoder"):
        graph = embedded.manifest.graph(kind)
        steps.append(fake_engine(graph, embedded.path / graph.file, api))
    encoder = StreamEncoder(embedded.manifest, steps[0])
    decoder = StreamDecoder(embedded.manifest, steps[1])
    got = through(encoder, decoder)
    for a, b in zip(got[0] + got[1], wanted[0] + wanted[1], strict=True):
        np.testing.assert_array_equal(a, b)
    api.assert_nothing_left()


def test_outputs_beside_those_of_the_graph_stay_on_the_device(tiny: Path) -> None:
    """Of an engine whose fusions were broken."""
    graph = Bundle.load(tiny).manifest.graph("encoder")
    file = tiny / graph.file
    model = onnx.load(file)
    model.graph.output.append(onnx.helper.make_tensor_value_info("now", 1, (2, 1)))
    onnx.save(model, file)
    extra, api = (TensorSpec("now", "float32", (2, 1)),), FakeApi()
    with fake_engine(graph, file, api, extra_outputs=extra) as step:
        assert "now" not in step.outputs
        marked = [run_flat(step, (3, 5), start=True), run_flat(step, (1, 1))]
        assert {size for way, size in api.copies if way == "down"} == {graph.outputs[0].nbytes}
    (tiny / "plain").mkdir()
    with tiny_engine(tiny_of(tiny / "plain")) as step:
        plain = [run_flat(step, (3, 5), start=True), run_flat(step, (1, 1))]
    np.testing.assert_array_equal(marked, plain)
    for wrong in ((), (replace(extra[0], dtype="float16"),)):
        with pytest.raises(BundleMismatch, match="output now float32"):
            fake_engine(graph, file, FakeApi(), extra_outputs=wrong)


def tiny_of(folder: Path) -> Path:
    write_tiny_bundle(folder)
    return folder


def test_a_call_is_copies_and_one_launch(tiny: Path) -> None:
    api = FakeApi()
    with tiny_engine(tiny, api) as step:
        assert step.captured and step.info
        run_flat(step, (3, 5), start=True)
        before = api.calls.copy()
        api.copies.clear()
        run_flat(step, (1, 1))
    made = api.calls - before
    assert made["cudaGraphLaunch"] == 1
    frames, start, ready = ("up", 2 * 4 * 16 * 16 * 3), ("up", 2), ("up", 2)
    tokens = ("down", 2 * 2 * 2 * 4)
    assert api.copies == [frames, start, ready, tokens], "no cache, and no latent"
    assert not api.pageable, "copies of a call need no CPU"
    assert made["cudaStreamSynchronize"] == 2, "one in the call, one when closing"
    assert not made["cudaMalloc"] and not made["cudaMallocHost"]


def test_what_cannot_be_captured_runs_all_the_same(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_tensorrt import _Context

    monkeypatch.setattr(_Context, "is_stream_capturable", lambda self, stream: False, raising=False)
    api = FakeApi()
    with tiny_engine(tiny, api) as step:
        assert not step.captured and not step.info
        assert "calls are not CUDA graphs: TensorRT says that it cannot" in str(step.info)
        assert run_flat(step, (3, 5), start=True) == [3, 5]
        assert run_flat(step, (1, 2)) == [4, 7]
        assert run_flat(step, (1, 2)) == [5, 9]
    assert not api.calls["cudaGraphLaunch"]
    api.assert_nothing_left()


@pytest.mark.parametrize(
    ("calls", "capture", "why"),
    [
        (["cudaStreamBeginCapture"], True, "cudaStreamBeginCapture failed"),
        (["cudaStreamEndCapture"], True, "cudaStreamEndCapture failed"),
        (["cudaGraphInstantiate"], True, "cudaGraphInstantiate failed"),
        ([], False, "execute_async_v3 failed.*executionContext.cpp"),
        (["cudaStreamEndCapture"], False, "execute_async_v3 failed.*executionContext.cpp"),
    ],
)
def test_a_capture_that_fails_is_no_reason_not_to_run(
    tiny: Path, calls: list[str], capture: bool, why: str
) -> None:
    api = FakeApi()
    library = FakeTensorRT(api)
    api.failing = dict.fromkeys(calls, Error.STREAM_CAPTURE_INVALIDATED)
    library.failing = set() if capture else {"capture"}
    with tiny_engine(tiny, api, library) as step:
        assert not step.captured and not step.info
        assert re.search(f"calls are not CUDA graphs: .*{why}", step.info.fell_back)
        assert run_flat(step, (3, 5), start=True) == [3, 5]
        assert run_flat(step, (1, 2)) == [4, 7]
    api.assert_nothing_left()


def test_what_the_device_holds(tiny: Path) -> None:
    with tiny_engine(tiny) as step:
        frames, controls, tokens, cache = 2 * 4 * 16 * 16 * 3, 2 * 2, 2 * 2 * 2 * 4, 2 * 4
        latent = tokens  # nobody reads it, but the engine writes it
        scratch = 1024  # of the fake engine
        assert step.device_bytes == frames + controls + tokens + latent + 2 * cache + scratch


# --- faults -----------------------------------------------------------------------------------

MAKING = [
    "cudaStreamCreateWithFlags",
    "cudaEventCreate",
    "cudaMalloc",
    "cudaMallocHost",
    "cudaStreamSynchronize",
]
FREEING = [
    "cudaStreamDestroy",
    "cudaEventDestroy",
    "cudaFree",
    "cudaFreeHost",
    "cudaGraphExecDestroy",
]
RUNNING = [
    "cudaMemcpyAsync",
    "cudaGraphLaunch",
    "cudaEventRecord",
    "cudaStreamSynchronize",
    "cudaEventElapsedTime",
]


@pytest.mark.parametrize("call", MAKING)
def test_a_call_that_fails_at_the_start(tiny: Path, call: str) -> None:
    api = FakeApi()
    api.failing[call] = Error.OUT_OF_MEMORY
    with pytest.raises(DeviceError, match=rf"{call} failed: cudaErrorOutOfMemory \(2\)") as caught:
        tiny_engine(tiny, api)
    assert caught.value.exit_code == 4
    api.assert_nothing_left()


def test_a_device_that_is_lost_at_the_start_fails_once(tiny: Path) -> None:
    """After such an error every call fails, also those that free."""
    api = FakeApi()
    api.failing = dict.fromkeys(["cudaMallocHost", *FREEING], Error.LAUNCH_FAILURE)
    with pytest.raises(DeviceError, match="cudaMallocHost failed"):
        tiny_engine(tiny, api)


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_ctrl_c_while_an_engine_is_opened(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """What it had begun uses contexts and memory: both outlive it."""
    api, wait, waited = FakeApi(), Cuda.wait, list[int]()

    def interrupted(cuda: Cuda, stream: Any) -> None:
        waited.append(1)
        if len(waited) == calls + 1:
            raise KeyboardInterrupt
        wait(cuda, stream)

    monkeypatch.setattr(Cuda, "wait", interrupted)
    if calls < 2:
        with pytest.raises(KeyboardInterrupt):
            tiny_engine(tiny, api)
    else:
        with pytest.raises(KeyboardInterrupt), tiny_engine(tiny, api) as step:
            run_flat(step, (3, 5), start=True)
            run_flat(step, (1, 1))
    api.assert_clean()


@pytest.mark.parametrize("call", RUNNING)
def test_a_call_that_fails_in_a_stream_closes_it(tiny: Path, call: str) -> None:
    api = FakeApi()
    step = tiny_engine(tiny, api)
    encoder = StreamEncoder(Bundle.load(tiny).manifest, step)
    frame = np.zeros((16, 16, 3), np.uint8)
    for _ in range(4):
        encoder.push(frame)
    api.failing[call] = Error.LAUNCH_FAILURE
    with pytest.raises(DeviceError, match=rf"{call} failed: cudaErrorLaunchFailure \(719\)"):
        for _ in range(4):
            encoder.push(frame)
    with pytest.raises(StreamError, match="closed"):
        encoder.push(frame)
    with pytest.raises(StreamError, match="closed"):
        step.run()
    assert not step.inputs and not step.outputs, "their memory is gone"


def test_a_device_that_recovers_gets_its_memory_back(tiny: Path) -> None:
    api = FakeApi()
    step = tiny_engine(tiny, api)
    api.failing["cudaGraphLaunch"] = Error.LAUNCH_FAILURE
    with pytest.raises(DeviceError):
        step.run()
    api.assert_nothing_left()


CACHES = {"cache_000": np.zeros((2, 1), np.float32)}


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaStreamSynchronize"])
@pytest.mark.parametrize("use", [EngineStep.caches, lambda step: step.set_caches(CACHES)])
def test_caches_that_cannot_be_copied_close_the_step(tiny: Path, call: str, use: Any) -> None:
    api = FakeApi()
    step = tiny_engine(tiny, api)
    api.failing[call] = Error.LAUNCH_FAILURE
    with pytest.raises(DeviceError, match=f"{call} failed"):
        use(step)
    api.failing.clear()
    with pytest.raises(StreamError, match="closed"):
        use(step)
    api.assert_nothing_left()


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        ("deserialize", r"failed on TensorRT 10.3.0, sm87 .*Out of memory Free memory"),
        ("context", "create_execution_context failed.*too little free memory"),
        ("address", "set_tensor_address failed. For "),
        ("execute", r"execute_async_v3 failed.*executionContext.cpp"),
    ],
)
def test_tensorrt_that_fails_at_the_start(tiny: Path, failing: str, message: str) -> None:
    api = FakeApi()
    library = FakeTensorRT(api)
    library.failing.add(failing)
    with pytest.raises(DeviceError, match=message):
        tiny_engine(tiny, api, library)
    api.assert_nothing_left()


def test_an_engine_with_other_tensors_is_refused(tiny: Path) -> None:
    manifest = Bundle.load(tiny).manifest
    decoder = tiny / manifest.graph("decoder").file
    api = FakeApi()
    with pytest.raises(BundleMismatch, match=r"disagree on 5 tensor\(s\).*--rebuild"):
        fake_engine(manifest.graph("encoder"), decoder, api)
    api.assert_nothing_left()


# --- opening ----------------------------------------------------------------------------------

ORIN = Gpu("Orin", "sm87", 8 << 30)


@pytest.fixture
def on_orin(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    """A Jetson with TensorRT and CUDA."""
    api = FakeApi()
    library = FakeTensorRT(api)
    monkeypatch.setattr(step_module, "present_gpu", lambda: ORIN)
    monkeypatch.setattr(step_module, "load_tensorrt", lambda target: library)
    monkeypatch.setattr(importlib, "import_module", lambda name: api)
    yield library


def test_an_engine_that_is_not_there_is_never_loaded(tiny: Path, on_orin: FakeTensorRT) -> None:
    graph = Bundle.load(tiny).manifest.graph("encoder")
    with pytest.raises(EngineMissing, match="vidtok-edge build"):
        open_engine(tiny, graph, Target.TENSORRT)
    assert not on_orin.loggers, "nothing was deserialised"


def test_the_sidecar_decides_before_anything_is_deserialised(
    tiny: Path, on_orin: FakeTensorRT
) -> None:
    bundle = Bundle.load(tiny)
    graph = bundle.manifest.graph("encoder")
    content = str(tiny / graph.file).encode()  # what the fake GPU takes for an engine
    host = host_of(Target.TENSORRT, cast(TensorRT, on_orin), ORIN.architecture, ORIN.name)
    sidecar = sidecar_of(graph, content, host)
    path = engine_file(tiny, graph, "tensorrt", ORIN.architecture)
    path.parent.mkdir()
    path.write_bytes(content)
    path.with_suffix(".json").write_text(replace(sidecar, version="10.4.0").to_json())
    with pytest.raises(EngineStale, match=r"built for 10\.4\.0, here 10\.3\.0"):
        open_engine(tiny, graph, Target.TENSORRT)
    assert not on_orin.loggers, "nothing was deserialised"
    path.with_suffix(".json").write_text(sidecar.to_json())
    with open_engine(tiny, graph, Target.TENSORRT) as step:
        assert run_flat(step, (3, 5), start=True) == [3, 5]


def test_without_a_gpu(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "present_gpu", lambda: None)
    with pytest.raises(BackendUnavailable, match=r"none was found here.*--backend cpu"):
        Bundle.load(tiny).encoder("tensorrt")
