"""Fusions that a build must not make: tensors of layers that are marked as outputs.

TensorRT fuses what lies between two tensors that somebody reads. Where a fused kernel computes
something wrong, or in a precision that was not asked for, an output between its layers keeps them
apart; it costs the time to write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from vidtok_edge.errors import EngineRefused
from vidtok_edge.runtime.backends.engines.api import INetworkDefinition, ITensor
from vidtok_edge.runtime.backends.engines.dtypes import DTYPES
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec
from vidtok_edge.runtime.manifest.layer_tensors import check_patterns, leaving

__all__ = ["break_fusions", "check_unfused"]


def check_unfused(folder: Path, graphs: Iterable[GraphSpec], patterns: Sequence[str]) -> None:
    """Raise UsageError unless each pattern matches a layer of one of the `graphs` in `folder`."""
    if patterns:
        layers = [it.layer for graph in graphs for it in leaving(folder / graph.file, graph)]
        check_patterns(patterns, layers)


def break_fusions(
    network: INetworkDefinition, folder: Path, graph: GraphSpec, patterns: Sequence[str]
) -> tuple[TensorSpec, ...]:
    """Mark what leaves the layers that match as outputs of the network.

    Args:
        network: the parsed `graph`.
        folder: where its file lies.
        graph: as the manifest describes it; its own outputs are outputs already.
        patterns: of layers, `*` and `?` as in file names; the other half of a bundle may have them.

    Returns:
        What was marked, in the order of the graph.

    Raises:
        EngineRefused: TensorRT's network lacks a tensor of that name, or it has a type that no
            tensor of ours has.
    """
    if not patterns:
        return ()
    outputs = {spec.name for spec in graph.outputs}
    wanted = [
        it.tensor
        for it in leaving(folder / graph.file, graph)
        if it.tensor not in outputs and any(fnmatchcase(it.layer, pattern) for pattern in patterns)
    ]
    there = _tensors(network)
    if missing := [name for name in wanted if name not in there]:
        raise EngineRefused(
            f"TensorRT's network of {graph.file} has no tensor {', '.join(missing[:3])}, so no "
            "fusion can be broken there. Name other layers with --break-fusion."
        )
    marked = [_spec(there[name], graph) for name in wanted]
    for name in wanted:
        network.mark_output(there[name])
    return tuple(marked)


def _tensors(network: INetworkDefinition) -> dict[str, ITensor]:
    """What the layers of a network make, by name."""
    found = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for output in range(layer.num_outputs):
            tensor = layer.get_output(output)
            if tensor is not None:
                found[tensor.name] = tensor
    return found


def _spec(tensor: ITensor, graph: GraphSpec) -> TensorSpec:
    kind = tensor.dtype.name
    if kind not in DTYPES:
        raise EngineRefused(
            f"{tensor.name} of {graph.file} is {kind}, which no output of an engine may be here. "
            "Name other layers with --break-fusion."
        )
    return TensorSpec(tensor.name, DTYPES[kind], tuple(tensor.shape))
