"""OpenVINO's steps, beyond what every backend promises: bit depth, memory, what it says."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from int8_sums import convolution, save_beside
from tiny_calls import run_flat

from vidtok_edge.errors import (
    BackendUnavailable,
    BundleError,
    BundleMismatch,
    OutOfMemory,
    StreamError,
)
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends import openvino as module
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.proofs import device_of


def step_of(folder: Path, **options: Any) -> Step:
    return Bundle.load(folder).step("encoder", "openvino", **options)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "absent" not in request.node.name:
        pytest.importorskip("openvino", reason="OpenVINO is not installed")


def test_it_says_what_runs(tiny: Path) -> None:
    with step_of(tiny) as step:
        assert step.info and str(step.info).startswith("openvino on openvino 20")


def test_arrays_that_nobody_else_holds_stay(tiny: Path) -> None:
    """OpenVINO writes into the memory of `latent`, which no stream reads, without holding it."""
    with step_of(tiny) as step:
        step.outputs = {}
        gc.collect()
        rubbish = [np.full(2 * 8, 7, np.float32) for _ in range(100)]
        for k in range(20):
            step.inputs["frames"][...] = k
            step.run()
        assert all((array == 7).all() for array in rubbish)


def test_a_call_copies_nothing(tiny: Path) -> None:
    """What it gives lies in arrays of the step; OpenVINO would copy it for who asks."""

    class Kept:
        def infer(self, **options: Any) -> None:
            self.result = request.infer(**options)

    step = step_of(tiny)
    assert isinstance(step, module.OpenVinoStep)
    with step:
        request, kept = step._requests[0], Kept()
        step._requests[0] = kept
        step.run()
        ours = [*step._written.values(), *step._sets[1].values()]
        found = [*kept.result.values()]
        assert len(found) == len(ours)
        assert all(any(np.shares_memory(one, array) for array in ours) for one in found)


def test_no_process_holds_a_core_for_its_calls(tmp_path: Path) -> None:
    assert module._compiled(written(tmp_path), 1).get_property("ENABLE_CPU_PINNING") is False


def test_memory_that_runs_out_closes_a_step(tiny: Path) -> None:
    class Full:
        def infer(self, **options: Any) -> None:
            raise MemoryError("Unable to allocate 8.00 MiB")

    step = step_of(tiny)
    assert isinstance(step, module.OpenVinoStep)
    step._requests[0] = Full()
    with pytest.raises(OutOfMemory, match="encoder"):
        step.run()
    with pytest.raises(StreamError, match="closed"):
        step.run()


@pytest.mark.parametrize("threads", [1, 2, None])
def test_threads_change_nothing(tiny: Path, threads: int | None) -> None:
    with step_of(tiny, threads=threads) as step:
        assert run_flat(step, (3, 5), start=True) == [3, 5]
        assert run_flat(step, (1, 2)) == [4, 7]


def test_float32_is_not_rounded_where_the_processor_has_bfloat16(tmp_path: Path) -> None:
    compiled = module._compiled(written(tmp_path), 1)
    assert "float32" in str(compiled.get_property("INFERENCE_PRECISION_HINT"))


def written(folder: Path) -> Path:
    path = folder / "convolution.onnx"
    save_beside(convolution(np.full((16, 64, 1, 1), 64, np.int8), bias=True), path)
    return path


@pytest.mark.parametrize("weight", [64, 127, -128])
def test_int8_sums_do_not_saturate(weight: int, tmp_path: Path) -> None:
    path = tmp_path / "sums.onnx"
    save_beside(convolution(np.full((16, 64, 1, 1), weight, np.int8), bias=True), path)
    request = module._compiled(path, 1).create_infer_request()
    [result] = request.infer({"x": np.full((1, 64, 4, 4), 255, np.uint8)}).values()
    assert abs(float(result[0, 0, 0, 0]) - 64 * 255 * weight) <= 8192, "half a level"


def test_a_graph_of_another_manifest_is_refused(tiny: Path) -> None:
    graphs = Bundle.load(tiny).manifest
    encoder, decoder = graphs.graph("encoder"), graphs.graph("decoder")
    path = tiny / decoder.file
    path.write_bytes((tiny / encoder.file).read_bytes())
    with pytest.raises(BundleMismatch, match=r"decoder.*disagree on \d+ tensor\(s\)"):
        open_step(tiny, decoder, Backend.OPENVINO)


def test_a_file_that_is_no_graph_is_refused_in_a_sentence(tiny: Path) -> None:
    graph = Bundle.load(tiny).manifest.graph("encoder")
    (tiny / graph.file).write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"OpenVINO cannot load .*--backend cpu") as caught:
        open_step(tiny, graph, Backend.OPENVINO)
    assert "\n" not in str(caught.value)


def test_an_operator_that_it_lacks_is_named(tiny: Path) -> None:
    graph = Bundle.load(tiny).manifest.graph("encoder")
    model = onnx.load(tiny / graph.file)
    model.graph.node[0].op_type = "Unheard"
    onnx.save(model, tiny / graph.file)
    with pytest.raises(BundleError, match=r"Unheard|Unsupported input type"):
        open_step(tiny, graph, Backend.OPENVINO)


def test_a_closed_step_says_so(tiny: Path) -> None:
    step = step_of(tiny)
    step.close()
    step.close()
    for call in (step.run, step.caches, lambda: step.set_caches({})):
        with pytest.raises(StreamError, match="closed"):
            call()


def test_it_runs_on_the_cpu_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from vidtok_edge.runtime import proofs

    monkeypatch.setattr(proofs, "present_gpu", lambda: Gpu("H200", "sm90", 8 << 30))
    assert device_of("openvino") == device_of("cpu") != device_of("onnxruntime")


# --- where it is not --------------------------------------------------------------------------


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """How `import openvino` fails."""

    def fail_with(error: ImportError) -> None:
        def failing(name: str) -> Any:
            raise error

        module._library.cache_clear()
        monkeypatch.setattr(importlib, "import_module", failing)

    yield fail_with
    module._library.cache_clear()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("no", name="openvino"), "OpenVINO is not installed. Install it with"),
        (ImportError("no libtbb"), "OpenVINO does not load: no libtbb. Install it with"),
        (ModuleNotFoundError("no numpy", name="numpy"), "OpenVINO does not load: no numpy"),
    ],
)
def test_an_absent_library_is_told_with_the_line_that_installs_it(
    tiny: Path, missing: Any, error: ImportError, said: str
) -> None:
    missing(error)
    with pytest.raises(BackendUnavailable, match=said):
        open_step(tiny, Bundle.load(tiny).manifest.graph("encoder"), Backend.OPENVINO)
