"""Memory of steps on ONNX Runtime: where values lie, in how many sets, and that none is kept."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from host_cuda import HostCuda
from sliding import SLIDING, sliding_graph
from tiny_calls import run_flat as run

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.onnxruntime import OnnxRuntimeStep
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement, TensorSpec


def step_of(folder: Path, backend: str = "auto") -> Step:
    return Bundle.load(folder).step("encoder", backend)


def watched_bindings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The tensors that are bound from now on, and their addresses."""
    bound: list[tuple[str, int]] = []
    binding = ort.IOBinding

    def watch(method: str) -> None:
        original = getattr(binding, method)

        def spy(self: Any, tensor: str, value: Any) -> None:
            bound.append((tensor, value.data_ptr()))
            original(self, tensor, value)

        monkeypatch.setattr(binding, method, spy)

    watch("bind_ortvalue_input")
    watch("bind_ortvalue_output")
    return bound


def test_a_cache_that_is_read_again_has_two_sets(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = watched_bindings(monkeypatch)
    with step_of(tiny):
        pass
    tensors = len({name for name, _ in bound})
    assert len(bound) == 2 * tensors
    for turn in (bound[:tensors], bound[tensors:]):
        assert len({address for _, address in turn}) == tensors
    first, second = dict(bound[:tensors]), dict(bound[tensors:])
    assert first["cache_000"] == second["new_cache_000"]
    assert second["cache_000"] == first["new_cache_000"]


def sliding_step(folder: Path, text: str) -> OnnxRuntimeStep:
    path = folder / "sliding.onnx"
    onnx.save(sliding_graph(text), path)
    x, y = TensorSpec("x", "float32", (1, 1)), TensorSpec("y", "float32", (1, 3))
    cache, start = TensorSpec("cache_000", "float32", (1, 2)), TensorSpec("start", "bool", (1, 1))
    new_cache = replace(cache, name="new_cache_000")
    graph = GraphSpec(
        kind="encoder",
        precision="fp32",
        placement=Placement.ANY,
        form="conv2d",
        opset=20,
        file=path.name,
        sha256="",
        data_file="",
        data_sha256="",
        inputs=(x, start, cache),
        outputs=(y, new_cache),
    )
    return OnnxRuntimeStep(graph, path, "cpu")


READ_LATE = SLIDING.replace("Identity(joined)", "Concat <axis = 1> (cache_000, x)")


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        pytest.param(SLIDING, 1, id="a copied cache lies where the new one does"),
        pytest.param(READ_LATE, 2, id="one that is read after that does not"),
    ],
)
def test_a_sliding_cache_keeps_what_it_should(
    text: str, sets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = watched_bindings(monkeypatch)
    with sliding_step(tmp_path, text) as step:
        assert len({address for name, address in bound if "cache" in name}) == sets
        step.set_caches({"cache_000": np.full((1, 2), 7, np.float32)})
        history = [7, 7]
        for number in range(1, 6):
            step.inputs["x"][:] = number
            step.run()
            assert step.outputs["y"][0].tolist() == [*history, number]
            history = [history[1], number]
            assert step.caches()["cache_000"][0].tolist() == history


@pytest.mark.parametrize(
    ("on_cpu", "fell_back"),
    [
        (set(), ""),
        ({"start", "ready"}, ""),
        ({"cache_000"}, "cuda: 1 of 1 caches are read on the CPU"),
    ],
)
def test_values_lie_where_the_session_reads_them(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, on_cpu: set[str], fell_back: str
) -> None:
    HostCuda(monkeypatch, on_cpu)
    with step_of(tiny, "cuda") as step:
        assert (step.info.active, step.info.fell_back) == ("cuda", fell_back)
        assert run(step, (3, 5), start=True) == [3, 5]
        assert run(step, (1, 1)) == [4, 6]
        assert run(step, (1, 9), ready=[True, False]) == [5, 15]
        assert run(step, (1, 1)) == [6, 7]
        assert step.caches()["cache_000"][:, 0].tolist() == [6, 7]


def rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_run_allocates_no_buffer(tiny: Path) -> None:
    with step_of(tiny) as step:
        tracemalloc.start()
        try:
            step.run()  # what Python itself keeps from a first call
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for _ in range(50):
                step.run()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # ONNX Runtime's own call leaves 124 bytes to the collector; our buffers have 6,144.
    assert peak - before < 50 * 200


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_300_chunks_are_flat(tiny: Path) -> None:
    with Bundle.load(tiny).encoder() as encoder:
        frame = np.zeros((16, 16, 3), np.uint8)

        def chunks(count: int) -> None:
            for _ in range(4 * count):
                encoder.push(frame)

        chunks(100)
        gc.collect()
        before = rss()
        chunks(300)
        assert rss() - before < 1 << 20


SHAPES, MB = 8, 1 << 20


PEAK = """
import sys
from pathlib import Path
import numpy as np
from vidtok_edge.runtime.backends.onnxruntime import open_session

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

session, _ = open_session(Path(sys.argv[1]), "cpu", 1)
before = peak()
session.run(None, {"x": np.ones(1, np.float32)})
print((peak() - before) * 1024)
"""


def one_at_a_time(path: Path) -> None:
    """A graph of tensors of 16 MB, one alive at a time, whose shapes all come twice."""
    nodes, constants, last = list[Any](), list[Any](), "x"
    for number in range(2 * SHAPES):
        split = 2 ** (number % SHAPES)
        shape = np.array([split, 4 * MB // split], np.int64)
        constants.append(onnx.numpy_helper.from_array(shape, f"shape{number}"))
        nodes += [
            onnx.helper.make_node("Expand", [last, f"shape{number}"], [f"large{number}"]),
            onnx.helper.make_node("ReduceMax", [f"large{number}"], [f"small{number}"], keepdims=0),
        ]
        last = f"small{number}"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "one at a time",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value(last, onnx.TensorProto.FLOAT, [])],
        constants,
    )
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.save(model, path)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_of_a_tensor_serves_others_at_once(tmp_path: Path) -> None:
    one_at_a_time(tmp_path / "graph.onnx")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "graph.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 16 * MB <= int(done.stdout) < 40 * MB, "with one buffer for each shape 128 MB"


def held_by_onnx_runtime() -> int:
    """How many sessions, bindings and tensors of ONNX Runtime there are in this process."""
    gc.collect()
    kinds = (ort.InferenceSession, ort.IOBinding, ort.OrtValue)
    return sum(type(each) in kinds for each in gc.get_objects())


def test_closed_steps_give_their_memory_back(tiny: Path) -> None:
    before = held_by_onnx_runtime()
    step = step_of(tiny)
    run(step, (3, 5), start=True)
    assert held_by_onnx_runtime() >= before + 1 + 2 + 2  # session, bindings, two sets of caches
    step.close()
    step.close()
    assert held_by_onnx_runtime() == before, "though the step itself is still there"
    with pytest.raises(StreamError):
        run(step, (1, 1))
