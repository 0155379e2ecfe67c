"""From ranges and policy to grids: what each placement rounds, and to what."""

from __future__ import annotations

import pytest
import torch

from vidtok_edge.calib.int8 import PLACEMENTS, int8_graphs, levels_of
from vidtok_edge.calib.placement import int8_numerics
from vidtok_edge.calib.policy import DEFAULT_POLICY, Policy, Rule
from vidtok_edge.calib.ranges import Ranges
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.runtime.manifest.graphs import Placement


def test_onnxruntime_has_unsigned_inputs_and_outputs(ranges: Ranges) -> None:
    numerics = int8_numerics(ranges, DEFAULT_POLICY, "decoder", Placement.ONNXRUNTIME)
    assert numerics.dtype == torch.float32
    assert numerics.form("conv2d") == "channels_last"
    for name, grids in numerics.grids.items():
        seen = ranges.layers("decoder")[name]
        assert grids.early and grids.input.dtype == "uint8"
        span = seen.input.asymmetric.high - seen.input.asymmetric.low
        assert grids.input.scale == pytest.approx(span / 255)
        assert (grids.output is not None) == grids.int8


def test_tensorrt_has_signed_inputs_alone(ranges: Ranges) -> None:
    numerics = int8_numerics(ranges, DEFAULT_POLICY, "encoder", Placement.TENSORRT)
    assert numerics.dtype == torch.float16
    assert numerics.form("conv3d") == "conv3d"
    assert numerics.form("channels_last") == "conv2d"
    for name, grids in numerics.grids.items():
        seen = ranges.layers("encoder")[name]
        assert not grids.early and grids.output is None
        assert (grids.input.dtype, grids.input.zero_point) == ("int8", 0)
        assert grids.input.scale == pytest.approx(seen.input.symmetric.high / 127)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_levels_decide_what_is_rounded(ranges: Ranges, placement: str) -> None:
    layers = list(ranges.layers("decoder"))
    policy = Policy((Rule(layers[1], "int8"), Rule(layers[2], "cache"), Rule(layers[3], "float")))
    numerics = int8_numerics(ranges, policy, "decoder", placement)  # type: ignore[arg-type]
    assert list(numerics.grids) == layers[1:3]
    assert numerics.int8_layers == (layers[1],)
    assert numerics.grids[layers[2]].output is None


def test_graphs_come_in_pairs_the_one_for_onnxruntime_first(ranges: Ranges) -> None:
    one, other = int8_graphs(ranges, DEFAULT_POLICY)
    levels = levels_of(ranges, DEFAULT_POLICY)
    for kind in KINDS:
        assert (one[kind].placement, other[kind].placement) == PLACEMENTS
        assert one[kind].int8_layers == other[kind].int8_layers
        assert set(one[kind].grids) == {n for n in ranges.layers(kind) if levels[n] != "float"}
