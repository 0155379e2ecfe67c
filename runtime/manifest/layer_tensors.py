"""The tensors that leave the layers of a step graph, found by the names of its nodes.

Nodes are named for their layer: `encoder.conv_in` is its convolution, `encoder.conv_in/Reshape.2`
its third reshape. What a layer does inside differs between precisions and forms; what leaves it,
and in which order, does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.manifest.graph_nodes import GraphNode, read_graph
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["LayerTensor", "check_patterns", "layer_tensors", "layers_of", "leaving"]


@dataclass(frozen=True, slots=True)
class LayerTensor:
    """A tensor that a node of one layer makes and a node of another reads, or the host."""

    layer: str
    number: int
    """Among those of its layer, in the order of the graph, from 0."""
    node: str
    """That makes it."""
    tensor: str
    sources: tuple[str, ...]
    """What it is computed from with nothing between: others of these, and inputs of the graph."""

    @property
    def key(self) -> tuple[str, int]:
        """The same in every graph of a model."""
        return self.layer, self.number

    def __str__(self) -> str:
        return self.layer + (f" ({self.number + 1})" if self.number else "")


def layers_of(nodes: Iterable[GraphNode]) -> dict[str, str]:
    """The layer of each node, by the node's name.

    The kernels of one layer after its first carry a number behind its name.
    """
    names = [node.name for node in nodes]
    plain = {name for name in names if "/" not in name}

    def layer(name: str) -> str:
        if "/" in name:
            return name.partition("/")[0]
        before, _, number = name.rpartition(".")
        return before if number.isdigit() and before in plain else name

    return {name: layer(name) for name in names}


def layer_tensors(
    nodes: Sequence[GraphNode], constants: Collection[str], results: Collection[str]
) -> tuple[LayerTensor, ...]:
    """What leaves the layers of a graph, in its order.

    Args:
        nodes: of the graph, each after those that it needs.
        constants: the names of its weights and other constants.
        results: the outputs that the host reads; caches are not among them.
    """
    layers = layers_of(nodes)
    readers: dict[str, set[str]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, set()).add(layers[node.name])
    found = list[LayerTensor]()
    sources: dict[str, tuple[str, ...]] = {}  # of each tensor inside of a layer
    counted: dict[str, int] = {}
    for node in nodes:
        layer = layers[node.name]
        inputs = [name for name in node.inputs if name and name not in constants]
        needed = dict.fromkeys(s for name in inputs for s in sources.get(name, (name,)))
        for name in node.outputs:
            if name in results or readers.get(name, set()) - {layer}:
                number = counted[layer] = counted.get(layer, -1) + 1
                found.append(LayerTensor(layer, number, node.name, name, tuple(needed)))
            else:
                sources[name] = tuple(needed)
    return tuple(found)


def leaving(file: Path, graph: GraphSpec) -> tuple[LayerTensor, ...]:
    """What leaves the layers of `graph`, which lies in `file`."""
    nodes, constants = read_graph(file)
    return layer_tensors(nodes, constants, [spec.name for spec in graph.host_outputs])


def check_patterns(patterns: Iterable[str], layers: Collection[str]) -> None:
    """Raise UsageError unless each pattern (`*` and `?` as in file names) matches a layer."""
    known = list(dict.fromkeys(layers))
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in known):
            near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.4) or known[:3]
            raise UsageError(
                f"No layer matches {pattern!r}. Layers are called like {', '.join(near)}; `*` "
                "stands for anything."
            )
