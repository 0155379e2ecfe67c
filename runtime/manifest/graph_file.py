"""What the ONNX file of a step graph would run, read without the onnx package.

A step graph is arithmetic: no loops, no branches, no operators of others. A file that has them did
not come from our exporter, and neither did one whose weights lie elsewhere than the manifest says.
The file is Protocol Buffers; the numbers of its fields are those of `onnx/onnx.proto` (ONNX, "Open
Neural Network Exchange - ONNX", section "Models").
"""

from __future__ import annotations

from pathlib import Path

from vidtok_edge.bounded import read_at_most
from vidtok_edge.runtime.manifest.protobuf import fields, text, text_at

__all__ = ["OPERATORS", "QUANTISING", "check_graph_file"]

OPERATORS = frozenset(
    [
        "Add",
        "And",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "DepthToSpace",
        "Div",
        "Equal",
        "Expand",
        "Floor",
        "Identity",
        "LayerNormalization",
        "LpNormalization",
        "MatMul",
        "Mul",
        "Not",
        "Or",
        "Pad",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Resize",
        "Round",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
"""What a step graph may use: operators that TensorRT 10.3 parses, and no control flow."""
QUANTISING = frozenset(["DequantizeLinear", "QuantizeLinear"])
"""What an INT8 graph may use beside them."""

_ALLOWED = OPERATORS | QUANTISING

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTION = 7, 8, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 6, 11
_TENSOR_EXTERNAL = 13
_FIRST, _SECOND = 1, 2  # of an opset: domain, version; of an entry of external data: key, value
_DOMAINS = ("", "ai.onnx")
_LARGEST = 64 << 20  # bytes; a graph of full width has 1 MB


def check_graph_file(path: Path, data_file: str) -> None:
    """Read the file at `path` as far as it says what would run.

    Args:
        path: the ONNX file, some hundred kB; its weights lie beside it.
        data_file: the one file beside it that its weights may lie in.

    Raises:
        ValueError: it is no ONNX file, or not one that our exporter writes; says why.
        OSError: it cannot be read.
    """
    _check_model(read_at_most(path, _LARGEST), data_file)


def _check_model(data: bytes, data_file: str) -> None:
    graphs = 0
    for number, value in fields(data):
        if number == _MODEL_FUNCTION:
            raise ValueError("has functions of its own")
        elif number == _MODEL_OPSET:
            _check_domain(text_at(value, _FIRST))
        elif number == _MODEL_GRAPH:
            graphs += 1
            _check_graph(value, data_file)
    if graphs != 1:
        raise ValueError(f"holds {graphs} graphs, expected one: it is no ONNX file")


def _check_graph(graph: bytes, data_file: str) -> None:
    for number, value in fields(graph):
        if number == _GRAPH_NODE:
            _check_node(value, data_file)
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(value, data_file)
        elif number == _GRAPH_SPARSE:
            raise ValueError("has sparse weights")


def _check_node(node: bytes, data_file: str) -> None:
    operator = ""
    for number, value in fields(node):
        if number == _NODE_OPERATOR:
            operator = text(value)
        elif number == _NODE_DOMAIN:
            _check_domain(text(value))
        elif number == _NODE_ATTRIBUTE:
            for kind, inner in fields(value):
                if kind in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    raise ValueError("has control flow (a graph inside an operator)")
                if kind == _ATTRIBUTE_TENSOR:
                    _check_tensor(inner, data_file)
    if operator not in _ALLOWED:
        raise ValueError(f"uses the operator {operator or 'without a name'}")


def _check_domain(domain: str) -> None:
    if domain not in _DOMAINS:
        raise ValueError(f"uses operators of {domain}")


def _check_tensor(tensor: bytes, data_file: str) -> None:
    for number, value in fields(tensor):
        if number == _TENSOR_EXTERNAL and text_at(value, _FIRST) == "location":
            location = text_at(value, _SECOND)
            if location != data_file:
                raise ValueError(f"has weights in {location}, the manifest names {data_file}")
