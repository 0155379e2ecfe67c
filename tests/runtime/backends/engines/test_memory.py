"""Frames and tokens in memory that host and device share, on a GPU made of host memory."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from engine_sidecars import sidecar_of
from fake_gpu import Error, FakeApi, Misuse
from fake_tensorrt import FakeTensorRT, fake_engine
from tiny_calls import run_flat

from vidtok_edge.errors import BackendUnavailable, DeviceError, UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.arrays import DeviceArray
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines import step as step_module
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.library import host_of
from vidtok_edge.runtime.backends.engines.memory import Memory, served
from vidtok_edge.runtime.backends.engines.sidecar import engine_file
from vidtok_edge.runtime.backends.engines.step import EngineStep
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.streaming.encoder import StreamEncoder

SHARED = [memory for memory in Memory if memory.shared]
ORIN = Gpu("Orin", "sm87", 8 << 30)


def on_orin(api: FakeApi) -> FakeApi:
    """With what a Jetson Orin's CUDA says of it."""
    api.attributes |= {"Integrated": 1, "ConcurrentManagedAccess": 0}
    return api


def tiny_engine(folder: Path, api: FakeApi, memory: Memory, **options: Any) -> EngineStep:
    graph = Bundle.load(folder).manifest.graph("encoder")
    return fake_engine(graph, folder / graph.file, api, memory=memory, **options)


# --- streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", SHARED)
def test_a_call_copies_nothing(tiny: Path, memory: Memory) -> None:
    api = FakeApi()
    with tiny_engine(tiny, api, memory) as step:
        assert step.info.memory == memory and step.captured
        results = [run_flat(step, (3, 5), start=True), run_flat(step, (1, 1))]
        assert not api.copies
        assert api.calls["cudaGraphLaunch"] == 2
    assert results == [[3, 5], [4, 6]]
    assert not api.calls["cudaMallocHost"]
    shared, other = {
        Memory.MAPPED: ("cudaHostAlloc", "cudaMallocManaged"),
        Memory.MANAGED: ("cudaMallocManaged", "cudaHostAlloc"),
    }[memory]
    assert api.calls[shared] == 4 and not api.calls[other], "frames, start, ready, tokens"
    assert api.calls["cudaMalloc"] == 4, "both halves of the cache, the latent, scratch memory"
    assert api.calls["cudaFree"] + api.calls["cudaFreeHost"] == 8


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("memory", SHARED)
def test_tokens_are_those_of_device_memory(tiny: Path, memory: Memory, depth: int) -> None:
    """Also where a call runs in a thread while the program fills the next chunk."""
    frames = np.random.default_rng(7).integers(0, 256, (2, 23, 16, 16, 3), np.uint8)
    manifest = Bundle.load(tiny).manifest

    def streamed(memory: Memory, depth: int) -> list[tuple[int, int, bytes]]:
        found = []
        with StreamEncoder(manifest, tiny_engine(tiny, FakeApi(), memory), depth=depth) as encoder:
            for pair in zip(*frames, strict=True):
                for slot, frame in enumerate(pair):
                    found += encoder.push(frame, slot=slot)
            for slot in (0, 1):
                found += encoder.run_pending() + encoder.finish(slot)
        return sorted(
            (it.slot, it.index, it.tokens.tobytes()) for it in found if it.tokens is not None
        )

    wanted = streamed(Memory.DEVICE, 1)
    assert len({tokens for _, _, tokens in wanted}) > 4
    assert streamed(memory, depth) == wanted


@pytest.mark.parametrize("memory", SHARED)
def test_tokens_that_stay_are_in_memory_of_the_device(tiny: Path, memory: Memory) -> None:
    api = FakeApi()
    with tiny_engine(tiny, api, memory, outputs_on="device") as step:
        assert not step.outputs
        step.inputs["frames"][...] = 3
        step.inputs["start"][:] = step.inputs["ready"][:] = True
        step.run()
        tokens = step.device.outputs["tokens"]
        assert isinstance(tokens, DeviceArray)
        assert api.memory.space_of(tokens.address) == "device"
        there = api.memory.device(tokens.address, tokens.nbytes, "the test").view(np.int32)
        assert set(there.tolist()) == {3}


@pytest.mark.parametrize("memory", SHARED)
def test_caches_are_copied_as_from_device_memory(tiny: Path, memory: Memory) -> None:
    api = FakeApi()
    with tiny_engine(tiny, api, memory) as step:
        run_flat(step, (3, 5), start=True)
        kept = step.caches()
        first = run_flat(step, (1, 2))
        step.set_caches(kept)
        assert run_flat(step, (1, 2)) == first
        assert {way for way, _ in api.copies} == {"up", "down"}


# --- too early --------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", SHARED)
def test_what_is_read_before_the_device_is_done_is_no_result(
    tiny: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tiny_engine(tiny, FakeApi(), memory) as step, monkeypatch.context() as early:
        run_flat(step, (3, 5), start=True)
        early.setattr(Cuda, "wait", lambda cuda, stream: None)
        early.setattr(Cuda, "between_ns", lambda cuda, first, second: 0)
        assert run_flat(step, (1, 1)) == [-1, -1]


@pytest.mark.parametrize("memory", SHARED)
def test_what_is_written_while_the_device_works_is_found(
    tiny: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi()
    with tiny_engine(tiny, api, memory) as step:
        wait = Cuda.wait

        def meanwhile(cuda: Cuda, stream: Any) -> None:
            if step.inputs:
                step.inputs["frames"][0] += 1
            wait(cuda, stream)

        monkeypatch.setattr(Cuda, "wait", meanwhile)
        with pytest.raises(Misuse, match="frames was written while a call that reads it"):
            run_flat(step, (3, 5), start=True)
    api.misuse.clear()


# --- what a device can serve --------------------------------------------------------------------


def test_what_devices_can_serve() -> None:
    api = FakeApi()
    assert served(Cuda(api)) == tuple(Memory)
    assert served(Cuda(on_orin(api))) == (Memory.DEVICE, Memory.MAPPED)
    api.attributes["CanMapHostMemory"] = 0
    assert served(Cuda(api)) == (Memory.DEVICE,)


@pytest.mark.parametrize(
    ("memory", "attribute", "said"),
    [
        (
            Memory.MAPPED,
            "CanMapHostMemory",
            r"it does not map .*\(cudaDevAttrCanMapHostMemory is 0\)\. It can: device, managed\.",
        ),
        (Memory.MANAGED, "ManagedMemory", r"it has no managed memory"),
        (Memory.MANAGED, "ConcurrentManagedAccess", r"may not use managed memory at once"),
    ],
)
def test_what_a_device_cannot_serve_is_refused(
    tiny: Path, memory: Memory, attribute: str, said: str
) -> None:
    api = FakeApi()
    api.attributes[attribute] = 0
    with pytest.raises(BackendUnavailable, match=said):
        tiny_engine(tiny, api, memory)
    assert set(api.calls) <= {"cudaGetDevice", "cudaDeviceGetAttribute"}, "nothing was begun"


@pytest.mark.parametrize(
    ("memory", "call"),
    [
        (Memory.MAPPED, "cudaHostAlloc"),
        (Memory.MAPPED, "cudaHostGetDevicePointer"),
        (Memory.MANAGED, "cudaMallocManaged"),
        (Memory.MANAGED, "cudaDeviceGetAttribute"),
    ],
)
def test_a_call_that_fails_at_the_start(tiny: Path, memory: Memory, call: str) -> None:
    api = FakeApi()
    api.failing[call] = Error.OUT_OF_MEMORY
    with pytest.raises(DeviceError, match=rf"{call} failed: cudaErrorOutOfMemory"):
        tiny_engine(tiny, api, memory)
    api.assert_nothing_left()


# --- which one is taken -------------------------------------------------------------------------


@pytest.fixture
def mapped(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bundle]:
    """A bundle on a Jetson Orin with an engine of its encoder that was chosen to run mapped."""
    api = on_orin(FakeApi())
    library = FakeTensorRT(api)
    monkeypatch.setattr(step_module, "present_gpu", lambda: ORIN)
    monkeypatch.setattr(step_module, "load_tensorrt", lambda target: library)
    monkeypatch.setattr(importlib, "import_module", lambda name: api)
    bundle = Bundle.load(tiny)
    graph = bundle.manifest.graph("encoder")
    content = str(tiny / graph.file).encode()  # what the fake GPU takes for an engine
    host = host_of(Target.TENSORRT, cast(TensorRT, library), ORIN.architecture, ORIN.name)
    sidecar = replace(sidecar_of(graph, content, host), memory=Memory.MAPPED)
    path = engine_file(tiny, graph, "tensorrt", ORIN.architecture)
    path.parent.mkdir()
    path.write_bytes(content)
    path.with_suffix(".json").write_text(sidecar.to_json())
    yield bundle


def test_the_sidecar_says_which_and_who_asks_gets_another(mapped: Bundle) -> None:
    with mapped.encoder("tensorrt") as encoder:
        assert encoder.backend.memory == "mapped"
    with mapped.encoder("tensorrt", memory="device") as encoder:
        assert encoder.backend.memory == "device"
    with pytest.raises(BackendUnavailable, match=r"cannot be in managed memory.*--memory auto"):
        mapped.encoder("tensorrt", memory="managed")
    with pytest.raises(UsageError, match="There is no memory 'pinned'; use device, mapped"):
        mapped.encoder("tensorrt", memory="pinned")


@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_memory_is_said_of_engines(tiny: Path, backend: str) -> None:
    bundle = Bundle.load(tiny)
    for opened in (bundle.encoder, bundle.decoder):
        with pytest.raises(UsageError, match="memory is 'mapped', which is said of engines"):
            opened(backend, memory="mapped")
