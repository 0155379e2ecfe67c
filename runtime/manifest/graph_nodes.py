"""The nodes and constants of an ONNX file, read without the onnx package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.bounded import read_at_most
from vidtok_edge.runtime.manifest.protobuf import contents, fields, text, text_at

__all__ = ["GraphNode", "read_graph"]

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OPERATOR = 1, 2, 3, 4
_TENSOR_NAME = 8
_LARGEST = 64 << 20  # bytes; a graph of full width has 1 MB


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One operator: its name, and the tensors that it reads and makes."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(path: Path) -> tuple[tuple[GraphNode, ...], dict[str, bytes]]:
    """The nodes of the ONNX file at `path` in its order, and its constants by name.

    A constant is a TensorProto, as it lies in the file.

    Raises:
        ValueError: it is no ONNX file.
        OSError: it cannot be read.
    """
    nodes, constants = list[GraphNode](), dict[str, bytes]()
    for graph in contents(read_at_most(path, _LARGEST), _MODEL_GRAPH):
        for number, value in fields(graph):
            if number == _GRAPH_INITIALIZER:
                constants[text_at(value, _TENSOR_NAME)] = value
            elif number == _GRAPH_NODE:
                nodes.append(_node(value))
    return tuple(nodes), constants


def _node(message: bytes) -> GraphNode:
    inputs, outputs, operator, name = list[str](), list[str](), "", ""
    for number, value in fields(message):
        if number == _NODE_INPUT:
            inputs.append(text(value))
        elif number == _NODE_OUTPUT:
            outputs.append(text(value))
        elif number == _NODE_NAME:
            name = text(value)
        elif number == _NODE_OPERATOR:
            operator = text(value)
    return GraphNode(operator, name, tuple(inputs), tuple(outputs))
