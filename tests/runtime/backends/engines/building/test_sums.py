"""FP16 convolutions are told to sum in float32 by the types of the network, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_graphs import CONV_WORK, LAYER, small_graph, write_engine_bundle
from onnx import numpy_helper

from vidtok_edge.errors import EngineRefused
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building.build import (
    BuilderOptions,
    BuildRequest,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.backends.engines.building.network import ParsedNetwork, parsed_network
from vidtok_edge.runtime.backends.engines.building.precision_proof import compute_layers
from vidtok_edge.runtime.backends.engines.building.sums import Float32Sums, sum_in_float32
from vidtok_edge.runtime.backends.engines.library import collected_log, load_tensorrt
from vidtok_edge.runtime.backends.engines.sidecar import EngineSidecar
from vidtok_edge.runtime.manifest.graphs import Precision

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")


class Rewritten:
    """The network of a graph, summed in float32, with what must live as long."""

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        path = folder / "graph.onnx"
        onnx.save(model, path)
        self.library: Any = load_tensorrt(Target.TENSORRT_RTX)
        with collected_log(self.library) as (logger, _):
            self.logger = logger
            self.parsed: ParsedNetwork = parsed_network(self.library, logger, path, "RTX")
        self.network: Any = self.parsed.network
        self.before = self.interface()
        layers = compute_layers(self.library, self.network)
        self.sums: Float32Sums = sum_in_float32(self.library, self.network, layers)

    def interface(self) -> list[tuple[str, str]]:
        count = self.network.num_outputs
        found = [self.network.get_output(index) for index in range(count)]
        return [(tensor.name, tensor.dtype.name) for tensor in found]

    def layer(self, name: str) -> Any:
        layers = [self.network.get_layer(index) for index in range(self.network.num_layers)]
        return next(layer for layer in layers if layer.name == name)

    def readers(self, tensor: str) -> dict[str, str]:
        """The layers that read a tensor, and its type as they see it."""
        layers = [self.network.get_layer(index) for index in range(self.network.num_layers)]
        return {
            layer.name: source.dtype.name
            for layer in layers
            for index in range(layer.num_inputs)
            if (source := layer.get_input(index)) is not None and source.name == tensor
        }


def test_factors_stay_those_of_fp16_and_the_result_is_rounded_once(tmp_path: Path) -> None:
    model = small_graph("fp16")
    it = Rewritten(model, tmp_path)
    assert it.sums.layers == (LAYER,)
    convolution = it.layer(LAYER)
    convolution.__class__ = it.library.IConvolutionLayer
    source, result = convolution.get_input(0), convolution.get_output(0)
    assert (source.dtype.name, result.dtype.name) == ("FLOAT", "FLOAT")
    constants = {it.name: numpy_helper.to_array(it) for it in model.graph.initializer}
    for found, name in ((convolution.kernel, "weight"), (convolution.bias, "bias")):
        assert found.dtype == np.float32
        assert np.array_equal(found, constants[name].ravel().astype(np.float32))
    assert result.name == "z/float32", "what is read under the old name is rounded"
    assert it.readers("z") == {"layer/MatMul": "HALF"}
    [back] = it.readers("z/float32")
    assert it.layer(back).get_output(0).name == "z"


def test_the_network_is_the_same_seen_from_outside(tmp_path: Path) -> None:
    it = Rewritten(small_graph("fp16"), tmp_path)
    assert it.interface() == it.before
    assert [t for _, t in it.before] == ["HALF", "HALF"]


def test_integers_are_summed_as_they_were(tmp_path: Path) -> None:
    it = Rewritten(small_graph("int8"), tmp_path)
    assert it.sums == Float32Sums()
    assert it.layer(LAYER).get_output(0).dtype.name == "HALF"


def test_a_result_that_is_an_output_stays(tmp_path: Path) -> None:
    model = small_graph("fp16")
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT16, [1, 32, 16, 16])
    )
    it = Rewritten(model, tmp_path)
    assert it.sums == Float32Sums()
    assert it.interface() == it.before


def test_nothing_that_tf32_would_round_is_built_with_it(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match=r"2 layer\(s\) compute in float32, for one layer"):
        Rewritten(small_graph("fp32"), tmp_path)


# --- engines ----------------------------------------------------------------------------------


def request(folder: Path, *, float32_sums: bool) -> BuildRequest:
    options = BuilderOptions(float32_sums=float32_sums)
    return BuildRequest(folder, Target.TENSORRT_RTX, gpus=("sm86",), options=options)


@pytest.fixture
def bundle(tiny: Path) -> Path:
    """A bundle of small graphs in every precision."""
    precisions: list[Precision] = ["fp32", "fp16", "int8"]
    write_engine_bundle(tiny, Bundle.load(tiny).manifest, *precisions)
    return tiny


def test_an_engine_says_in_what_it_sums(bundle: Path) -> None:
    wide = request(bundle, float32_sums=True)
    found = {it.sidecar.precision: it.sidecar for it in build_engines(plan_engines(wide))}
    for precision, sidecar in found.items():
        assert sidecar.float32_sums == (precision != "fp32")
        tf32 = "TF32 of FP16 values" if sidecar.float32_sums else "no TF32"
        assert sidecar.flags == ("STRONGLY_TYPED", tf32, "REQUIRE_USER_ALLOCATION")
        assert EngineSidecar.from_json(sidecar.to_json()) == sidecar
    half = found["fp16"].proof
    assert half.float32_sums == 1 and "1 of 2 sum in float32" in str(half)
    assert next(s for s in half.shares if s.precision == "fp16").multiply_adds >= CONV_WORK
    assert found["int8"].proof.float32_sums == found["fp32"].proof.float32_sums == 0


def test_an_engine_is_kept_until_other_sums_are_asked_for(bundle: Path) -> None:
    plain, wide = (request(bundle, float32_sums=wide) for wide in (False, True))
    assert not any(it.sidecar.float32_sums for it in build_engines(plan_engines(plain)))
    planned = {engine.graph.precision: engine.why for engine in plan_engines(wide).engines}
    why = "sums: built with TensorRT's choice, asked for float32"
    assert planned == {"fp32": "", "fp16": why, "int8": why}
    build_engines(plan_engines(wide))
    assert not any(plan_engines(wide).engines)
    assert not any(plan_engines(plain).engines), "nothing was asked for"
    assert all(plan_engines(replace(plain, rebuild=True)).engines)
