"""Our two operators are ONNX's, and the grids they work on lose nothing twice."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from int8_sums import fast_sums, flattened, worst_inputs
from numpy.typing import NDArray
from onnx import TensorProto, helper

from vidtok_edge.lowering.affine import (
    Affine,
    dequantize,
    pair_safe_weight,
    quantize,
    quantized_bias,
    quantized_weight,
)
from vidtok_edge.runtime.manifest.pair_sums import MOST, can_saturate
from vidtok_edge.vidtok_ref import load_weights

GRIDS = [Affine.symmetric(3.0), Affine.asymmetric(-0.3, 5.0), Affine.asymmetric(0.0, 1e-6)]
limits = st.floats(1e-6, 1e4)


def session(affine: Affine, forth: bool) -> ort.InferenceSession:
    """QuantizeLinear, or DequantizeLinear, alone."""
    integers = TensorProto.INT8 if affine.dtype == "int8" else TensorProto.UINT8
    types = (TensorProto.FLOAT, integers) if forth else (integers, TensorProto.FLOAT)
    name = "QuantizeLinear" if forth else "DequantizeLinear"
    graph = helper.make_graph(
        [helper.make_node(name, ["x", "scale", "zero"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", types[0], [None])],
        [helper.make_tensor_value_info("y", types[1], [None])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [affine.scale]),
            helper.make_tensor("zero", integers, [], [affine.zero_point]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def tensors(affine: Affine, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    affine = affine.rounded_to(dtype)
    return torch.tensor(affine.scale, dtype=dtype), affine.zero_tensor()


@pytest.mark.parametrize("affine", GRIDS, ids=str)
def test_the_operators_are_those_of_onnx_bit_for_bit(affine: Affine) -> None:
    affine = affine.rounded_to(torch.float32)
    x = torch.linspace(-400, 400, 100_001) * affine.scale
    x = torch.cat([x, torch.tensor([0.5, 1.5, 2.5, -0.5, 1e30, -1e30]) * affine.scale])
    q = quantize(x, *tensors(affine))
    assert np.array_equal(q.numpy(), session(affine, True).run(None, {"x": x.numpy()})[0])
    back = dequantize(q, *tensors(affine)).numpy()
    assert np.array_equal(back, session(affine, False).run(None, {"x": q.numpy()})[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@given(limit=limits, skew=st.floats(0, 1))
def test_rounding_twice_is_rounding_once(dtype: torch.dtype, limit: float, skew: float) -> None:
    """What lets a cache hold integers: read and rounded again they are what they were."""
    for affine in (Affine.symmetric(limit), Affine.asymmetric(-skew * limit, limit)):
        scale, zero = tensors(affine, dtype)
        info = torch.iinfo(zero.dtype)
        q = torch.arange(info.min, info.max + 1).to(zero.dtype)
        real = dequantize(q, scale, zero)
        if not torch.isfinite(real).all():
            continue  # past the largest float16: calibration of such a model is refused by parity
        assert torch.equal(quantize(real, scale, zero), q)


@given(low=limits, high=limits)
def test_a_grid_holds_its_range_and_zero(low: float, high: float) -> None:
    affine = Affine.asymmetric(-low, high).rounded_to(torch.float32)
    ends = dequantize(torch.tensor([0, 255], dtype=torch.uint8), *tensors(affine))
    assert ends[0] <= -low + affine.scale and ends[1] >= high - affine.scale
    zero = torch.tensor(affine.zero_point, dtype=torch.uint8)
    assert dequantize(zero, *tensors(affine)) == 0
    assert Affine.symmetric(high).zero_point == 0


def test_a_tensor_without_width_gets_a_grid_all_the_same() -> None:
    assert Affine.symmetric(0.0).scale == Affine.asymmetric(0.0, 0.0).scale == 1.0
    assert Affine.symmetric(1e-12).rounded_to(torch.float16).scale == 2.0**-24


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_are_within_half_a_step_of_their_channel(dtype: torch.dtype) -> None:
    weight = torch.randn(5, 3, 3, 3) * torch.tensor([1, 10, 0.1, 0, 1e-3]).view(5, 1, 1, 1)
    values, scale = quantized_weight(weight, dtype)
    assert values.dtype == torch.int8 and scale.dtype == dtype and scale.shape == (5,)
    assert int(values.min()) >= -127  # -128 has no counterpart
    back = values.float() * scale.float().view(5, 1, 1, 1)
    slack = 0.5 if dtype == torch.float32 else 0.6  # float16 rounds the scale, ends are cut
    assert (back - weight).abs().amax(dim=(1, 2, 3)).le(slack * scale.float() + 1e-9).all()


# -- weights whose sums of 16 bits do not saturate

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
HALVES = st.integers(-254, 254).map(lambda halves: halves / 2)
"""On and between the integers that they are rounded to: 63.5 and 63.5 become 64 and 64."""
ANY = st.floats(-(2.0**100), 2.0**100, width=32)
Kernel = NDArray[np.float32]


@pytest.mark.parametrize("elements", [HALVES, ANY], ids=["halves", "any"])
@given(data=st.data())
def test_no_pair_of_weights_can_saturate(
    elements: st.SearchStrategy[float], data: st.DataObject
) -> None:
    weight = data.draw(SHAPES.flatmap(lambda s: arrays(np.float32, s, elements=elements)))
    values, scale = pair_safe_weight(torch.from_numpy(weight))
    assert not can_saturate(values.numpy())
    steps = scale.view(-1, 1, 1, 1)
    back, exact = values.float() * steps, torch.from_numpy(weight)
    assert (back - exact).abs().le(0.5001 * steps).all()


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ([63.5, 63.5], [64, 64]),
        ([-63.5, -63.5], [-64, -64]),
        ([127, 0], [127, 0]),
        ([127, -127], [127, -127]),
        ([127, 127], [64, 64]),
        ([0, 0], [0, 0]),
    ],
)
def test_rounding_makes_128_of_127_at_most(pair: list[float], expected: list[int]) -> None:
    values, _ = pair_safe_weight(torch.tensor(pair, dtype=torch.float32).view(1, 2, 1, 1))
    assert values.flatten().tolist() == expected
    assert abs(sum(expected)) <= MOST


def layers_of_the_shipped_tokenizer() -> dict[str, torch.Tensor]:
    state = load_weights("fsq", None)[0].state_dict()
    return {name: w for name, w in state.items() if w.ndim > 3 and w.shape[1] > 1}


def test_fast_sums_are_exact_with_safe_scales_and_not_with_plain_ones() -> None:
    """Each layer of the shipped tokenizer, for its worst inputs and for random ones."""
    random = np.random.default_rng(0)
    plain_differ, layers = 0, layers_of_the_shipped_tokenizer()
    assert len(layers) > 50
    for weight in layers.values():
        for quantized in (pair_safe_weight(weight), quantized_weight(weight, torch.float32)):
            weights = flattened(quantized[0].numpy())[:8]
            noise = random.integers(0, 256, (8, weights.shape[1]), np.uint8)
            inputs = np.concatenate([worst_inputs(weights), noise])
            exact = inputs.astype(np.int32) @ weights.astype(np.int32).T
            equal = np.array_equal(fast_sums(inputs, weights), exact)
            if can_saturate(quantized[0].numpy()[:8]):
                plain_differ += not equal
            else:
                assert equal
        assert not can_saturate(pair_safe_weight(weight)[0].numpy())
    assert plain_differ > 50


def test_a_bias_is_within_half_a_step_and_never_wraps() -> None:
    bias, scales = torch.tensor([1.0, -3.0, 1e9]), torch.tensor([0.01, 0.02, 1e-6])
    integers, scale = quantized_bias(bias, 0.5, scales)
    assert integers.dtype == torch.int32
    assert (integers[:2] * scale[:2] - bias[:2]).abs().le(scale[:2] / 2).all()
    assert int(integers[2]) > 2**31 - 1000
