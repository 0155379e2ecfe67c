"""What leaves the layers of a graph is found by the names of its nodes."""

from __future__ import annotations

import pytest

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.manifest.graph_nodes import GraphNode
from vidtok_edge.runtime.manifest.layer_tensors import (
    LayerTensor,
    check_patterns,
    layer_tensors,
    layers_of,
)

PLAIN = [
    GraphNode("Conv", "m.conv1", ("x", "w"), ("c",)),
    GraphNode("Sigmoid", "m/Sigmoid", ("c",), ("s",)),
    GraphNode("Mul", "m/Mul", ("c", "s"), ("on",)),
    GraphNode("Conv", "m.conv2", ("on", "w"), ("c2",)),
    GraphNode("Add", "m/Add", ("x", "c2"), ("y",)),
]
QUANTISED = [
    GraphNode("QuantizeLinear", "m.conv1/QuantizeLinear", ("x", "s"), ("q",)),
    GraphNode("DequantizeLinear", "m.conv1/DequantizeLinear", ("w", "s"), ("wd",)),
    GraphNode("Conv", "m.conv1", ("q", "wd"), ("c",)),
    GraphNode("QuantizeLinear", "m.conv1/QuantizeLinear.1", ("c", "s"), ("r",)),
    GraphNode("DequantizeLinear", "m.conv1/DequantizeLinear.1", ("r", "s"), ("d",)),
    *PLAIN[1:],
]
QUANTISED[5:7] = [
    GraphNode("Sigmoid", "m/Sigmoid", ("d",), ("sig",)),
    GraphNode("Mul", "m/Mul", ("d", "sig"), ("on",)),
]


def test_a_layer_is_what_stands_before_the_operator() -> None:
    names = ["encoder.conv_in", "encoder.conv_in/Reshape.2", "up.1.upsample", "up.1.upsample.3"]
    names += ["up.1.block.1", "up.1.block.1/Add"]
    layers = layers_of(GraphNode("", name, (), ()) for name in names)
    assert layers == {
        "encoder.conv_in": "encoder.conv_in",
        "encoder.conv_in/Reshape.2": "encoder.conv_in",
        "up.1.upsample": "up.1.upsample",
        "up.1.upsample.3": "up.1.upsample",
        "up.1.block.1": "up.1.block.1",
        "up.1.block.1/Add": "up.1.block.1",
    }


def test_what_leaves_layers_is_told_with_what_it_is_computed_from() -> None:
    assert layer_tensors(PLAIN, {"w"}, ["y"]) == (
        LayerTensor("m.conv1", 0, "m.conv1", "c", ("x",)),
        LayerTensor("m", 0, "m/Mul", "on", ("c",)),
        LayerTensor("m.conv2", 0, "m.conv2", "c2", ("on",)),
        LayerTensor("m", 1, "m/Add", "y", ("x", "c2")),
    )


def test_it_has_the_same_keys_however_a_layer_is_made() -> None:
    plain, quantised = layer_tensors(PLAIN, {"w"}, ["y"]), layer_tensors(QUANTISED, "ws", ["y"])
    assert [tensor.key for tensor in plain] == [tensor.key for tensor in quantised]
    assert quantised[0].node == "m.conv1/DequantizeLinear.1"
    assert [str(tensor) for tensor in quantised] == ["m.conv1", "m", "m.conv2", "m (2)"]


def test_a_cache_does_not_leave() -> None:
    nodes = [*PLAIN, GraphNode("Slice", "m.conv1/Slice", ("x",), ("new_cache_000",))]
    assert "new_cache_000" not in {t.tensor for t in layer_tensors(nodes, {"w"}, ["y"])}


def test_a_pattern_that_matches_nothing_is_refused_with_layers_that_there_are() -> None:
    layers = ["decoder.mid.block_1.conv1", "decoder.mid.block_1.conv2", "decoder.conv_in"]
    check_patterns(["decoder.mid.*", "*.conv?", "decoder.conv_in"], layers)
    with pytest.raises(UsageError, match=r"No layer matches 'decoder.mid.block_2.conv1'. .*_1.co"):
        check_patterns(["*", "decoder.mid.block_2.conv1"], layers)
