"""Engines compute what ONNX Runtime computes. Mostly for a GPU; unverified on hardware."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_graphs import write_engine_bundle
from fake_gpu import FakeApi
from fake_tensorrt import fake_engine
from gpu_required import BACKENDS, ENGINES
from onnxruntime import InferenceSession, get_available_providers

from vidtok_edge.errors import EngineMissing
from vidtok_edge.export.bundle_verify import reference_of, verify_written
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime import bundle as bundle_module
from vidtok_edge.runtime.backends.backend import Backend, Target
from vidtok_edge.runtime.backends.engines.building.build import (
    BuildRequest,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.backends.engines.step import open_engine
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import DType, GraphSpec, Placement, Precision, TensorSpec

if TYPE_CHECKING:
    from vidtok_edge.export import Exported

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


def feeds(precision: Precision) -> dict[str, Any]:
    random = np.random.default_rng(1)
    real = np.float32 if precision == "fp32" else np.float16
    cache = random.integers(-60, 60, (1, 32, 2, 16))
    return {
        "x": random.normal(size=(1, 32, 16, 16)).astype(real),
        "cache_000": cache.astype(np.int8) if precision == "int8" else (cache / 30).astype(real),
    }


def interface(graph: GraphSpec) -> GraphSpec:
    """`graph` with the tensors of the small graphs, which no stream can run."""
    real: DType = "float32" if graph.precision == "fp32" else "float16"
    cache = TensorSpec("cache_000", "int8" if graph.precision == "int8" else real, (1, 32, 2, 16))
    x, y = (TensorSpec(name, real, (1, 32, 16, 16)) for name in ("x", "y"))
    return replace(graph, inputs=(x, cache), outputs=(y, replace(cache, name="new_cache_000")))


@pytest.mark.parametrize("target", ["fake", *ENGINES])
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-3), ("fp16", 0.05), ("int8", 0.2)])
def test_an_engine_computes_what_onnx_runtime_computes(
    tiny: Path, target: str, precision: Precision, limit: float
) -> None:
    write_engine_bundle(tiny, Bundle.load(tiny).manifest, precision)
    graph = interface(Bundle.load(tiny).manifest.graph("encoder", precision, Placement.TENSORRT))
    given = feeds(precision)
    session = InferenceSession(tiny / graph.file, providers=["CPUExecutionProvider"])
    wanted = dict(zip(("y", "new_cache_000"), session.run(None, given), strict=True))
    with engine_of(graph, tiny, target) as step:
        step.inputs["x"][...] = given["x"]
        step.set_caches({"cache_000": given["cache_000"]})
        step.run()
        got = {"y": step.outputs["y"], "new_cache_000": step.caches()["cache_000"]}
        scale = np.abs(wanted["y"].astype(np.float32)).max()
        difference = np.abs(got["y"].astype(np.float32) - wanted["y"].astype(np.float32)).max()
        assert difference <= limit * scale
    cache = got["new_cache_000"].astype(np.float32) - wanted["new_cache_000"].astype(np.float32)
    assert np.abs(cache).max() <= (1 if precision == "int8" else 1e-2)  # a level, where it is INT8


def engine_of(graph: GraphSpec, folder: Path, target: str) -> Step:
    if target == "fake":
        return fake_engine(graph, folder / graph.file, FakeApi())
    require(target)
    request = BuildRequest(folder, Target(target), (graph.precision,))
    [encoder, _] = build_engines(plan_engines(request))
    proof = encoder.sidecar.proof
    exact = proof.work_permille("fp32")
    # The product, 5 % of the work, may be in a region that the inspector does not look into.
    assert exact > 900 if graph.precision == "fp32" else exact < 100
    return open_engine(folder, graph, Target(target))


def require(backend: str) -> None:
    """Skip where this machine lacks the backend."""
    if present_gpu() is None:
        pytest.skip("no GPU")
    if backend == "cuda":
        if "CUDAExecutionProvider" not in get_available_providers():
            pytest.skip("this ONNX Runtime has no CUDA")
    elif importlib.util.find_spec(MODULES[backend]) is None:
        pytest.skip(f"{MODULES[backend]} is not installed")


# --- whole bundles ----------------------------------------------------------------------------


@pytest.mark.xdist_group("precisions")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bundle_is_verified_on_a_gpu(precisions: Exported, backend: str, tmp_path: Path) -> None:
    require(backend)
    folder = Path(shutil.copytree(precisions.bundle.path, tmp_path / "bundle"))
    if backend != "cuda":
        build_engines(plan_engines(BuildRequest(folder, Target(backend))))
    report = verify_written(Bundle.load(folder), None, backend)
    assert report, report.table()
    assert report.backend.startswith(f"{backend} on ")


@pytest.mark.xdist_group("precisions")
def test_a_bundle_is_verified_on_the_engines_of_a_fake_gpu(
    precisions: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float32 engines were not built; INT8 is the one placed for TensorRT."""
    opened = []

    def open_step(folder: Path, graph: GraphSpec, backend: str, **options: Any) -> Step:
        assert backend == "tensorrt"
        if graph.precision == "fp32":
            raise EngineMissing("not there")
        opened.append(graph.name)
        return fake_engine(graph, folder / graph.file, FakeApi(), to_compare=options["to_compare"])

    monkeypatch.setattr(bundle_module, "open_step", open_step)
    bundle = precisions.bundle
    report = verify_bundle(bundle, reference_of(bundle, None), Backend.TENSORRT)
    assert report, report.table()
    assert report.backend.startswith("tensorrt on tensorrt 10.3.0")
    assert opened == [
        "encoder.fp16",
        "decoder.fp16",
        "encoder.int8-tensorrt",
        "decoder.int8-tensorrt",
    ]
