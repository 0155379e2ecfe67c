"""What is called exact is so in the saturating kernel's arithmetic; all else is not called so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from int8_sums import convolution, fast_sums, flattened, save_beside, worst_inputs
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from vidtok_edge.runtime.manifest.pair_sums import MOST, can_saturate, saturating_layers

Kernel = NDArray[np.int8]
SHAPES = st.tuples(*[st.integers(1, 4)] * 4)
NEAR_THE_BOUND = st.sampled_from([-128, -127, -65, -64, -63, -1, 0, 1, 63, 64, 65, 127])
SAFE = np.tile(np.array([64, -64], np.int8), 8).reshape(1, 16, 1, 1)
FULL = np.full((1, 16, 1, 1), 127, np.int8)


@given(weight=SHAPES.flatmap(lambda shape: arrays(np.int8, shape, elements=NEAR_THE_BOUND)))
def test_a_kernel_can_saturate_where_the_worst_input_does(weight: Kernel) -> None:
    weights = flattened(weight)
    found = False
    # Pair by pair, for what one loses another may win back.
    for place in range(0, weights.shape[1], 2):
        pair = weights[:, place : place + 2]
        inputs = worst_inputs(pair)
        found |= not np.array_equal(fast_sums(inputs, pair), exact_sums(inputs, pair))
    assert can_saturate(weight) is found


def exact_sums(inputs: NDArray[np.uint8], weights: Kernel) -> NDArray[np.int32]:
    return inputs.astype(np.int32) @ weights.astype(np.int32).T


def test_the_bound_is_the_largest_that_holds() -> None:
    assert 255 * MOST <= 2**15 - 1 < 255 * (MOST + 1)
    pair = np.array([64, 64], np.int8).reshape(1, 2, 1, 1)
    assert not can_saturate(pair) and not can_saturate(-pair)
    assert can_saturate(pair + np.int8(1)) and can_saturate(-pair - np.int8(1))


def test_neighbours_are_channels_then_places() -> None:
    kernel = np.zeros((1, 2, 1, 3), np.int8)
    kernel[0, :, 0, 1] = 127
    assert can_saturate(kernel)
    kernel[:] = 0
    kernel[0, 0, 0, :] = 127
    assert not can_saturate(kernel)
    odd = np.zeros((1, 3, 1, 2), np.int8)
    odd[0, 2, 0, 0] = odd[0, 0, 0, 1] = 127  # 2 and 3 of 6
    assert can_saturate(odd)


def test_a_vector_is_no_kernel() -> None:
    with pytest.raises(ValueError, match="two axes or more, this one 1"):
        can_saturate(np.zeros(3, np.int8))


# -- graphs


def written(model: ModelProto, folder: Path, threshold: int = 0) -> tuple[str, ...]:
    path = folder / "graph.onnx"
    save_beside(model, path, threshold)
    return saturating_layers(path)


@pytest.mark.parametrize("threshold", [0, 1 << 20], ids=["beside", "inside"])
def test_a_graph_is_judged_by_its_weights(threshold: int, tmp_path: Path) -> None:
    assert written(convolution(SAFE, bias=True), tmp_path, threshold) == ()
    assert written(convolution(FULL, bias=True), tmp_path, threshold) == ("layer",)


def test_bytes_as_weights_are_multiplied_exactly(tmp_path: Path) -> None:
    model = convolution(FULL.astype(np.uint8))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.uint8), "zero"))
    model.graph.node[1].input[2] = "zero"
    assert written(model, tmp_path) == ()


def with_a_product(model: ModelProto) -> None:
    """A matrix product, whose neighbours lie elsewhere."""
    model.graph.node[2].op_type = "MatMul"


def without_a_zero_point(model: ModelProto) -> None:
    """INT8 all the same; and the input, whose type is not looked for."""
    for node in model.graph.node[:2]:
        del node.input[2:]
    next(t for t in model.graph.initializer if t.name == "w").CopyFrom(
        numpy_helper.from_array(FULL, "w")
    )


def with_weights_that_are_made(model: ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", ["w"], ["made"]))
    model.graph.node[2].input[0] = "made"


def with_weights_as_integers(model: ModelProto) -> None:
    """In a field of numbers, which our exporter does not use."""
    weight = next(t for t in model.graph.initializer if t.name == "w")
    weight.CopyFrom(helper.make_tensor("w", TensorProto.INT8, FULL.shape, FULL.ravel().tolist()))


def with_signed_input(model: ModelProto) -> None:
    zero = next(t for t in model.graph.initializer if t.name == "none")
    zero.CopyFrom(numpy_helper.from_array(np.array(0, np.int8), "none"))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8


@pytest.mark.parametrize(
    "change",
    [
        with_a_product,
        without_a_zero_point,
        with_weights_that_are_made,
        with_weights_as_integers,
        with_signed_input,
    ],
)
def test_what_cannot_be_judged_is_not_called_exact(
    change: Callable[[ModelProto], None], tmp_path: Path
) -> None:
    model = convolution(SAFE)
    change(model)
    assert written(model, tmp_path, 1 << 20) == ("layer",)


def entry(path: Path, key: str, value: str) -> None:
    """Give every constant beside the file at `path` this entry."""
    model = onnx.load_model(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for pair in tensor.external_data:
            if pair.key == key:
                pair.value = value
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "../graph.onnx.data"),
        ("location", "other"),
        ("offset", "1000000"),
        ("offset", "-1"),
        ("offset", "9" * 4000),
        ("offset", "here"),
    ],
)
def test_weights_that_are_not_where_they_should_be(key: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    save_beside(convolution(SAFE), path)
    assert saturating_layers(path) == ()
    entry(path, key, value)
    assert saturating_layers(path) == ("layer",)


def test_a_file_of_weights_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    save_beside(convolution(SAFE), path)
    path.with_name("graph.onnx.data").unlink()
    assert saturating_layers(path) != ()


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 40, 1, 1), (1 << 14, 1 << 14, 1, 1), (0, 1)])
def test_weights_of_a_claimed_shape_are_not_read(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    save_beside(convolution(SAFE), path)
    model = onnx.load_model(path, load_external_data=False)
    weight = next(t for t in model.graph.initializer if t.name == "w")
    weight.dims[:] = shape
    path.write_bytes(model.SerializeToString())
    with path.with_name("graph.onnx.data").open("ab") as data:
        data.truncate(1 << 30)  # sparse
    assert saturating_layers(path) == ("layer",)


def test_weights_that_are_read_again_and_again_are_not_judged(tmp_path: Path) -> None:
    weight = np.zeros((64, 64, 3, 3), np.int8)
    model = convolution(weight)
    assert written(model, tmp_path) == ()
    for number in range(8):
        node = model.graph.node.add()
        node.CopyFrom(model.graph.node[1])
        node.output[0] = f"w{number}"
        model.graph.node.append(helper.make_node("Conv", ["pixels", f"w{number}"], ["z"]))
    assert written(model, tmp_path) != () == ()


def test_weights_in_floating_point_are_not_judged(tmp_path: Path) -> None:
    model = convolution(FULL.astype(np.float32))
    del model.graph.node[1]
    model.graph.node[1].input[1] = "w"
    assert written(model, tmp_path) == ()
