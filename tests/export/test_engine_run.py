"""Engines compute what ONNX Runtime computes. Mostly for a GPU; unverified on hardware."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_graphs import write_engine_bundle
from fake_gpu import FakeApi, fake_engine

from vidtok_edge.errors import EngineMissing
from vidtok_edge.export.bundle_verify import reference_of, verify_written
from vidtok_edge.export.engine_build import BuildRequest, build_engines, plan_engines
from vidtok_edge.export.verification import verify_bundle
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime import bundle as bundle_module
from vidtok_edge.runtime.backend import Step
from vidtok_edge.runtime.engines.sidecar import Target
from vidtok_edge.runtime.gpu import present_gpu
from vidtok_edge.runtime.manifest import GraphSpec, Precision

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


@pytest.mark.gpu
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-3), ("fp16", 0.05), ("int8", 0.2)])
def test_an_engine_computes_what_onnx_runtime_computes(
    tiny: Path,
    target: Target,
    precision: Precision,
    limit: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if present_gpu() is None:
        pytest.skip("no GPU")
    if importlib.util.find_spec(MODULES[target]) is None:
        pytest.skip(f"{MODULES[target]} is not installed")
    polygraphy = pytest.importorskip("polygraphy")
    from onnxruntime import InferenceSession

    monkeypatch.setattr(polygraphy.config, "USE_TENSORRT_RTX", target == "tensorrt-rtx")
    from polygraphy.backend.trt import EngineFromBytes, TrtRunner  # type: ignore[import-untyped,import-not-found,unused-ignore]

    write_engine_bundle(tiny, Bundle.load(tiny).manifest, precision)
    [encoder, _] = build_engines(plan_engines(BuildRequest(tiny, target)))
    assert encoder.sidecar.proof.work_permille("fp32") == (1000 if precision == "fp32" else 0)
    given = feeds(precision)
    model = tiny / (encoder.sidecar.graph + ".onnx")
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = dict(zip(("y", "new_cache_000"), session.run(None, given), strict=True))
    with TrtRunner(EngineFromBytes(encoder.path.read_bytes())) as runner:
        got = runner.infer(given)
    scale = np.abs(wanted["y"].astype(np.float32)).max()
    difference = np.abs(got["y"].astype(np.float32) - wanted["y"].astype(np.float32)).max()
    assert difference <= limit * scale
    cache = got["new_cache_000"].astype(np.float32) - wanted["new_cache_000"].astype(np.float32)
    assert np.abs(cache).max() <= (1 if precision == "int8" else 1e-2)  # a level, where it is INT8


# --- whole bundles ----------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.xdist_group("precisions")
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_a_bundle_is_verified_on_its_engines(
    precisions: Exported, target: Target, tmp_path: Path
) -> None:
    if present_gpu() is None:
        pytest.skip("no GPU")
    if importlib.util.find_spec(MODULES[target]) is None:
        pytest.skip(f"{MODULES[target]} is not installed")
    folder = Path(shutil.copytree(precisions.bundle.path, tmp_path / "bundle"))
    build_engines(plan_engines(BuildRequest(folder, target)))
    report = verify_written(Bundle.load(folder), None, target)
    assert report, report.table()
    assert target in report.backend


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
    report = verify_bundle(bundle, reference_of(bundle, None), "tensorrt")
    assert report, report.table()
    assert report.backend.startswith("tensorrt on tensorrt 10.3.0")
    assert opened == ["encoder.fp16", "decoder.fp16", "encoder.int8-tensorrt",
                      "decoder.int8-tensorrt"]  # fmt: skip
