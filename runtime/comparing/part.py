"""A part of a graph as a graph of its own: whole layers, given what went into them elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper

from vidtok_edge.runtime.manifest.layer_tensors import LayerTensor

__all__ = ["GraphPart", "WholeGraph", "names_in"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class GraphPart:
    """Nodes of a graph that were chosen, with all others of their layers that they need."""

    nodes: tuple[str, ...]
    """Their names, in the order of the graph."""
    layers: tuple[LayerTensor, ...]
    """What leaves layers, is computed here, and is known from the other side."""
    inputs: tuple[str, ...]
    """The tensors that it is given."""
    model: ModelProto
    """The part, its weights inside; its outputs are the tensors of `layers`."""


class WholeGraph:
    """A graph to take parts of.

    Args:
        path: the ONNX file, its weights inside or beside it.
        leaving: what leaves its layers.
    """

    def __init__(self, path: Path, leaving: Sequence[LayerTensor]) -> None:
        self._model = onnx.load(str(path))
        self._leaving = {tensor.tensor: tensor for tensor in leaving}
        graph = self._model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._known = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
        self._makers = {name: node for node in graph.node for name in node.output if name}

    def needed(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The names of all nodes that the tensors `wanted` need, in the order of the graph."""
        return self._walked(wanted)[0]

    def cut(self, wanted: Sequence[str], values: Mapping[str, Array]) -> ModelProto:
        """The graph as far as `wanted` needs it, with these outputs; arguments as `part`."""
        nodes, inputs = self._walked(wanted)
        return self._of(nodes, inputs, wanted, values)

    def part(
        self, chosen: Collection[str], wanted: Sequence[str], values: Mapping[str, Array]
    ) -> GraphPart:
        """What of the chosen nodes `wanted` needs.

        A layer is never cut in two: where some of its nodes were chosen, those that they need are
        taken, too, back to the tensors that leave other layers. Those are inputs of the part,
        unless the node that makes them was chosen, or `values` lacks them.

        Args:
            chosen: names of nodes.
            wanted: tensors of the graph.
            values: of what may become an input, for its shape and type.
        """
        nodes, inputs = self._walked(wanted, chosen, values)
        there = set(nodes)
        layers = [t for t in self._leaving.values() if t.node in there and t.tensor in values]
        outputs = [t.tensor for t in layers]
        return GraphPart(nodes, tuple(layers), inputs, self._of(nodes, inputs, outputs, values))

    def _walked(
        self,
        wanted: Sequence[str],
        chosen: Collection[str] | None = None,
        values: Collection[str] = (),
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The nodes that `wanted` needs, back to what is given, and that."""
        needed, inputs = set[str](), dict[str, None]()
        ahead = list(wanted)
        for name in ahead:  # which grows
            if not name or name in self._constants:
                continue
            maker = self._makers.get(name)
            given = chosen is not None and name in self._leaving and name in values
            if maker is None or (given and maker.name not in (chosen or ())):
                inputs[name] = None
            elif maker.name not in needed:
                needed.add(maker.name)
                ahead += maker.input
        nodes = tuple(node.name for node in self._model.graph.node if node.name in needed)
        return nodes, tuple(inputs)

    def _of(
        self,
        names: Sequence[str],
        inputs: Collection[str],
        outputs: Sequence[str],
        values: Mapping[str, Array],
    ) -> ModelProto:
        chosen = set(names)
        nodes = [node for node in self._model.graph.node if node.name in chosen]
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "part",
            [self._described(name, values) for name in inputs],
            [self._described(name, values) for name in outputs],
            [tensor for name, tensor in self._constants.items() if name in read],
        )
        model = helper.make_model(graph, opset_imports=self._model.opset_import)
        model.ir_version = self._model.ir_version
        return model

    def _described(self, name: str, values: Mapping[str, Array]) -> Any:
        """Name, type and shape of a tensor, as far as they are known."""
        if name not in values:
            return self._known.get(name) or helper.make_empty_tensor_value_info(name)
        value = values[name]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
        return helper.make_tensor_value_info(name, kind, value.shape)


def names_in(path: Path) -> tuple[set[str], list[str]]:
    """The names of the nodes of the ONNX file at `path`, and those of its outputs."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return {node.name for node in graph.node}, [value.name for value in graph.output]
