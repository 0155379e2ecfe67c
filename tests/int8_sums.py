"""What ONNX Runtime's fast INT8 kernel adds up without VNNI, and graphs of one INT8 convolution."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["convolution", "fast_sums", "flattened", "save_beside", "worst_inputs"]


def flattened(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """A kernel [O, I, ...] as MLAS lays it out: [O, K], the channels last."""
    return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)


def fast_sums(inputs: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    """Sums [N, O] of `inputs` [N, K] times `weights` [O, K]: of pairs in 16 bits, then in 32.

    As `vpmaddubsw` and `vpmaddwd` do it in MLAS's QgemmU8S8KernelAvx2 and ConvSymKernelAvx2; seen
    in ONNX Runtime 1.32 on an emulated Haswell: of weights at 0..3 the pairs 0, 1 and 2, 3 saturate
    and no others do, for 1x1, 2x2 and 3x3 kernels of 3 to 16 channels.
    """
    odd = ((0, 0), (0, weights.shape[1] % 2))
    x, w = (np.pad(a, odd).astype(np.int32) for a in (inputs, weights))
    products = x[:, None] * w
    pairs = products[..., ::2] + products[..., 1::2]
    saturated: NDArray[np.int32] = pairs.clip(-(2**15), 2**15 - 1).sum(-1, dtype=np.int32)
    return saturated


def worst_inputs(weights: NDArray[np.int8]) -> NDArray[np.uint8]:
    """For each of `weights` [O, K], what makes its sum largest and least: 0 and 255."""
    return np.concatenate([weights > 0, weights < 0]).astype(np.uint8) * np.uint8(255)


def convolution(
    weight: NDArray[Any], size: int = 4, bias: bool = False, coarse: float = 16384
) -> ModelProto:
    """A graph of one INT8 convolution, `layer`, of an input of zero point 0.

    Args:
        weight: [O, I, kh, kw] on a grid of steps of 1.
        size: of its input `x`, uint8 [1, I, size, size].
        bias: there is one, of zeros.
        coarse: a step of its output `y`, float32, around 128.
    """
    outputs, inputs = weight.shape[:2]
    values: dict[str, NDArray[Any]] = {
        "one": np.array(1, np.float32),
        "ones": np.ones(outputs, np.float32),
        "coarse": np.array(coarse, np.float32),
        "none": np.array(0, np.uint8),
        "middle": np.array(128, np.uint8),
        "no_weight": np.zeros(outputs, np.int8),
        "w": weight,
    }
    if bias:
        values |= {"b": np.zeros(outputs, np.int32), "no_bias": np.zeros(outputs, np.int32)}
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["x", "one", "none"], ["pixels"]),
        node("DequantizeLinear", ["w", "ones", "no_weight"], ["weights"], axis=0),
        node("Conv", ["pixels", "weights", *(["bias"] if bias else [])], ["sum"], name="layer"),
        node("QuantizeLinear", ["sum", "coarse", "middle"], ["levels"]),
        node("DequantizeLinear", ["levels", "coarse", "middle"], ["y"]),
    ]
    if bias:
        nodes.insert(0, node("DequantizeLinear", ["b", "ones", "no_bias"], ["bias"], axis=0))
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, inputs, size, size])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "sums", [given], [result], constants)
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def save_beside(model: ModelProto, path: Path, threshold: int = 0) -> None:
    """Write `model` as our exporter does: constants from `threshold` bytes on in a second file."""
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # onnx writes behind what is there
    onnx.save_model(
        deepcopy(model),  # onnx takes the constants out of what it saves
        str(path),
        save_as_external_data=True,
        location=data.name,
        size_threshold=threshold,
    )
