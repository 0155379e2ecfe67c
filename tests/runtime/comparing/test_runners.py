"""Polygraphy's own runners take our graphs; engines need a driver, and are not touched without."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_required import ENGINES
from numpy.typing import NDArray

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend, Target
from vidtok_edge.runtime.backends.engines.building.build import (
    BuildRequest,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.backends.gpu import present_gpu

polygraphy = pytest.importorskip("polygraphy", reason="the extra debug is not installed")


def feed(folder: Path) -> dict[str, NDArray[Any]]:
    """What a first call of the encoder gets."""
    graph = Bundle.load(folder).manifest.graph("encoder")
    given = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in graph.inputs}
    given["frames"] = np.random.default_rng(0).integers(0, 256, given["frames"].shape, np.uint8)
    given["start"][:] = True
    if "ready" in given:
        given["ready"][:] = True
    return given


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_polygraphy_runs_our_graphs_as_they_are(layered: Path, precision: str) -> None:
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

    bundle = Bundle.load(layered)
    graph = bundle.manifest.graph("encoder", precision)
    given = feed(layered)
    if precision == "int8":
        given["cache_000"] = given["cache_000"].astype(np.uint8)
    with OnnxrtRunner(SessionFromOnnx(str(layered / graph.file))) as runner:
        got = runner.infer(given)
    with bundle.step("encoder", "cpu", precision, to_compare=True) as step:
        for name, value in step.inputs.items():
            value[...] = given[name]
        step.run()
        assert set(got) == {spec.name for spec in graph.outputs}
        # Polygraphy's session makes INT8 of a layer that ours keeps in float (decision 16).
        rounding = 1e-4 if precision == "int8" else 0
        for name, value in step.outputs.items():
            np.testing.assert_allclose(got[name], value, rtol=0, atol=rounding)


def test_what_is_marked_comes_out_and_weights_stay_beside(layered: Path) -> None:
    import onnx

    from vidtok_edge.runtime.comparing.runners import marked

    file = layered / Bundle.load(layered).manifest.graph("encoder").file
    model = onnx.load_from_string(marked(file, ["a_on", "latent"]))
    assert [value.name for value in model.graph.output] == ["a_on", "latent"]
    assert len(model.graph.node) == len(onnx.load(file).graph.node)


@pytest.mark.parametrize("backend", [Backend.TENSORRT, Backend.TENSORRT_RTX])
def test_without_a_driver_no_builder_is_made(
    layered: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidtok_edge.runtime.comparing import runners

    monkeypatch.setattr(runners, "present_gpu", lambda: None)
    monkeypatch.setattr(runners, "_engine_runner", lambda *_: pytest.fail("TensorRT was asked"))
    with pytest.raises(BackendUnavailable, match="on an NVIDIA GPU, and none was found"):
        runners.runner(layered / "encoder.fp32.onnx", backend, "second", None)


@pytest.mark.parametrize("target", ENGINES)
def test_polygraphy_runs_our_engines(tiny: Path, target: str) -> None:
    """Its loader makes a runtime of TensorRT's, which needs a driver."""
    if present_gpu() is None:
        pytest.skip("no GPU")
    if importlib.util.find_spec(Target(target).module) is None:
        pytest.skip(f"{target} is not installed")
    from polygraphy import config

    config.USE_TENSORRT_RTX = target == "tensorrt-rtx"
    from polygraphy.backend.trt import EngineFromPath, TrtRunner

    [encoder, _] = build_engines(plan_engines(BuildRequest(tiny, Target(target), ("fp32",))))
    with TrtRunner(EngineFromPath(str(encoder.path))) as runner:
        got = runner.infer(feed(tiny))
    with Bundle.load(tiny).step("encoder", "cpu") as step:
        for name, value in step.inputs.items():
            value[...] = feed(tiny)[name]
        step.run()
        np.testing.assert_array_equal(got["tokens"], step.outputs["tokens"])
