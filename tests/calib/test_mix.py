"""A step that layers are mixed in is, while none is, the step that it was lowered from."""

from __future__ import annotations

import numpy as np
import pytest
from narrow import narrow

from vidtok_edge.calib.mix import MixedStep
from vidtok_edge.lowering.facts import graph_spec
from vidtok_edge.lowering.interface import KINDS, Kind, interface_of
from vidtok_edge.lowering.numerics import FP32
from vidtok_edge.lowering.step import StepOptions, lower
from vidtok_edge.lowering.torch_step import TorchStep


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "variant", ["vidtok_fsq_causal_488_32768", "vidtok_fsq_causal_488_32768_v1_1"]
)
def test_a_stream_through_no_mix_is_one_through_the_step(variant: str, kind: Kind) -> None:
    model, options, random = narrow(variant, 16), StepOptions(16, 16), np.random.default_rng(0)
    graph = graph_spec(kind, options, FP32, interface_of(model.variant, options, kind))
    steps = [each(lower(model, options, kind), graph) for each in (TorchStep, MixedStep)]
    for call in range(3):
        for name, array in steps[0].inputs.items():
            array[...] = call == 0 if name == "start" else random.integers(0, 256, array.shape)
            if name == "end":
                array[...] = False
            steps[1].inputs[name][...] = array
        for step in steps:
            step.run()
        for name, wanted in steps[0].outputs.items():
            np.testing.assert_array_equal(steps[1].outputs[name], wanted, f"{name}, call {call}")
