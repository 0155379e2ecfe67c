"""An engine computes what ONNX Runtime computes. Needs a GPU; unverified on hardware."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_graphs import write_engine_bundle

from vidtok_edge.export.engine_build import BuildRequest, build_engines, plan_engines
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.engines.sidecar import Target
from vidtok_edge.runtime.gpu import present_gpu
from vidtok_edge.runtime.manifest import Precision

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
