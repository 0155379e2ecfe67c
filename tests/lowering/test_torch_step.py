"""A step in PyTorch keeps its caches to itself, as the other backends do."""

from __future__ import annotations

import numpy as np
import pytest
from narrow import narrow

from vidtok_edge.lowering.facts import BOTH_FP32
from vidtok_edge.lowering.interface import KINDS, Kind
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.torch_step import TorchStreams


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize(
    "variant", ["vidtok_fsq_causal_488_32768", "vidtok_fsq_causal_488_32768_v1_1"]
)
def test_what_the_host_writes_next_is_in_no_cache(variant: str, chunk: int, kind: Kind) -> None:
    step = TorchStreams(narrow(variant, 16), StepOptions(16, 16, chunk=chunk), BOTH_FP32).steps[
        kind
    ]
    for value in (True, False):
        for array in step.inputs.values():
            array[...] = value
        step.run()
        kept = step.caches()
        for array in step.inputs.values():
            array[...] = not value
        for name, cache in step.caches().items():
            np.testing.assert_array_equal(cache, kept[name], name)
