"""From ranges and a policy to the arithmetic of a graph: where its values are rounded, and how."""

from __future__ import annotations

from vidtok_edge.calib.policy import DEFAULT_POLICY, Level, Policy
from vidtok_edge.calib.ranges import LayerRanges, Ranges, TensorRanges
from vidtok_edge.lowering.affine import Affine
from vidtok_edge.lowering.kernels import Grids
from vidtok_edge.lowering.numerics import FP16, FP32, Numerics
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.lowering.work import multiply_adds
from vidtok_edge.runtime.manifest.graphs import Placement, Precision
from vidtok_edge.variants import Variant

__all__ = ["int8_numerics", "planned_numerics"]


def int8_numerics(ranges: Ranges, policy: Policy, kind: Kind, placement: Placement) -> Numerics:
    """The arithmetic of one INT8 graph. Both placements come from the same calibration.

    Args:
        ranges: of every convolution of the model.
        policy: which of them run in INT8.
        kind: which graph.
        placement: `tensorrt`: symmetric S8, inputs alone, the rest in fp16. `onnxruntime`: U8,
            outputs too, the rest in fp32.
    """
    layers = ranges.layers(kind)
    levels = policy.levels(list(layers))
    grids = {
        name: _grids(layers[name], level, placement)
        for name, level in levels.items()
        if level != "float"
    }
    return Numerics("int8", placement, grids)


def planned_numerics(
    variant: Variant, options: StepOptions, kind: Kind, precision: Precision
) -> Numerics:
    """The arithmetic of a graph that is not there yet: INT8 for engines, by the default policy.

    Its ranges are made up, so it serves to count with, not to compute.
    """
    if precision != "int8":
        return FP32 if precision == "fp32" else FP16
    levels = DEFAULT_POLICY.levels(list(multiply_adds(variant, options, kind)))
    made_up = Affine.symmetric(1.0)
    grids = {
        name: Grids(made_up, None, level == "int8", False)
        for name, level in levels.items()
        if level != "float"
    }
    return Numerics("int8", Placement.TENSORRT, grids)


def _grids(layer: LayerRanges, level: Level, placement: Placement) -> Grids:
    int8, early = level == "int8", placement == Placement.ONNXRUNTIME
    output = _affine(layer.output, placement) if int8 and early else None
    return Grids(_affine(layer.input, placement), output, int8, early)


def _affine(ranges: TensorRanges, placement: Placement) -> Affine:
    if placement == Placement.TENSORRT:
        return Affine.symmetric(ranges.symmetric.high)
    return Affine.asymmetric(ranges.asymmetric.low, ranges.asymmetric.high)
