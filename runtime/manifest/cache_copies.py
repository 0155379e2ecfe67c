"""Which caches a graph has copied before it writes the new ones.

Such a cache and its new one can lie in the same memory: whatever order a runtime finds for the
nodes of the graph, a node runs after those that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vidtok_edge.runtime.manifest.graph_nodes import GraphNode, read_graph

__all__ = ["copied_caches"]

_COPIES = "Where"
"""A step selects between a cache and a fresh past, which makes a tensor of its own."""
_NEAR = 64
"""Tensors. A new cache is cut from what the copy was joined to: two or three nodes away."""


def copied_caches(path: Path, caches: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Those of `caches` that one node alone reads, a copy, from which the new one is made.

    Args:
        path: an ONNX file.
        caches: the names of each cache as it goes in and as it comes out.

    Raises:
        ValueError: it is no ONNX file.
        OSError: it cannot be read.
    """
    nodes, _ = read_graph(path)
    readers, maker = dict[str, list[GraphNode]](), dict[str, GraphNode]()
    for node in nodes:
        for name in set(node.inputs):
            readers.setdefault(name, []).append(node)
        maker |= dict.fromkeys(node.outputs, node)
    return frozenset(
        old
        for old, new in caches
        if [node.operator for node in readers.get(old, ())] == [_COPIES]
        and new not in readers[old][0].outputs
        and _needs(new, readers[old][0], maker)
    )


def _needs(tensor: str, node: GraphNode, maker: dict[str, GraphNode]) -> bool:
    """Whether `tensor` cannot be made before `node` has run, as far as the nearest nodes tell."""
    near = [tensor]
    for name in near:  # which grows
        made_by = maker.get(name)
        if made_by is node:
            return True
        if made_by is not None:
            near += made_by.inputs[: max(0, _NEAR - len(near))]
    return False
