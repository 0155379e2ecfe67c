"""What types the tensors of a step graph may have, checked on each one that is written.

A strongly typed graph says itself what is computed in what; these rules hold it to its policy.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.runtime.manifest.graphs import Placement

__all__ = ["broken_dtype_rules"]

_FLOATS: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_EDGES = ("step/", "encoder.conv_in/")
"""Where float32 is always allowed: pixels and the latents' quantiser."""


def broken_dtype_rules(model: ModelProto, numerics: Numerics) -> list[str]:
    """A sentence for every node of `model` whose types are not what `numerics` says."""
    types = _types(model)
    wanted = str(numerics.dtype).removeprefix("torch.")
    broken = []
    for node in model.graph.node:
        # The scales of a Resize are float32 whatever it resizes.
        inputs = node.input[:1] if node.op_type == "Resize" else node.input
        used = [types[name] for name in (*inputs, *node.output) if name]
        floats = {_FLOATS[t] for t in used if t in _FLOATS}
        if len(floats) > 1 and node.op_type != "Cast":
            broken.append(f"{node.name} mixes {' and '.join(sorted(floats))}")
        elif floats - {wanted} and node.op_type != "Cast" and not node.name.startswith(_EDGES):
            broken.append(f"{node.name} computes in {floats.pop()}, not {wanted}")
    return broken + _int8(model, numerics, types)


def _types(model: ModelProto) -> dict[str, int]:
    """The element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _int8(model: ModelProto, numerics: Numerics, types: dict[str, int]) -> list[str]:
    """INT8 kernels are those of the policy; integers go where the placement's backends take them.

    TensorRT: symmetric, signed, and between Q and DQ alone. ONNX Runtime: unsigned activations, and
    every INT8 convolution followed by Q, which together become QLinearConv.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    broken, found = [], set()
    for node in model.graph.node:
        if node.op_type == "Conv" and _made_by(makers, node.input[1]) == "DequantizeLinear":
            layer = _layer(node, numerics)
            found.add(layer)
            if _made_by(makers, node.input[0]) != "DequantizeLinear":
                broken.append(f"{node.name} has INT8 weights and no INT8 input")
            followed = [reader.op_type for reader in readers.get(node.output[0], [])]
            if numerics.placement == Placement.ONNXRUNTIME and followed != ["QuantizeLinear"]:
                broken.append(f"{node.name} is followed by {followed}, not QuantizeLinear")
        if numerics.placement == Placement.TENSORRT:
            broken += _for_tensorrt(node, types, constants)
    if found != set(numerics.int8_layers):
        odd = sorted(found ^ set(numerics.int8_layers))
        broken.append(f"the INT8 kernels are not those of the policy: {', '.join(odd[:4])}")
    return broken


def _for_tensorrt(
    node: NodeProto, types: dict[str, int], constants: dict[str, TensorProto]
) -> list[str]:
    if node.op_type in _QUANTIZERS:
        zero = constants.get(node.input[2])
        if (
            zero is not None
            and zero.data_type == TensorProto.INT8
            and not numpy_helper.to_array(zero).any()
        ):
            return []
        return [f"{node.name} has a zero point that is not 0 in INT8"]
    touched = [types[name] for name in (*node.input, *node.output) if name]
    if TensorProto.INT8 in touched:
        return [f"{node.name} ({node.op_type}) handles INT8; TensorRT wants only Q and DQ there"]
    return []


def _made_by(makers: dict[str, NodeProto], name: str) -> str:
    return makers[name].op_type if name in makers else ""


def _layer(node: NodeProto, numerics: Numerics) -> str:
    """The layer of a convolution: the kernels after a layer's first carry a number behind it."""
    name: str = node.name
    return name if name in numerics.grids else name.rpartition(".")[0]
