"""What the integers of a cache stand for is read from its graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.comparing.grids import EXACT, PIXELS, Grid, cache_grids
from vidtok_edge.runtime.manifest.graphs import DType


@given(st.floats(1e-3, 10), st.integers(0, 255))
def test_what_is_stored_comes_back(scale: float, zero: int) -> None:
    grid, integers = Grid(scale, float(zero)), np.arange(256, dtype=np.uint8)
    assert np.array_equal(grid.stored(grid.real(integers), "uint8"), integers)


def test_pixels_stand_for_minus_one_to_one() -> None:
    ends = PIXELS.real(np.array([0, 255], np.uint8))
    assert ends == pytest.approx([-1, 1], abs=1e-6)
    assert list(PIXELS.stored(np.array([-2.0, 2.0]), "uint8")) == [0, 255], "and are cut off there"


def test_real_numbers_stand_for_themselves() -> None:
    values = np.array([0.5, -3.0], np.float16)
    assert np.array_equal(EXACT.real(values), values)
    assert EXACT.stored(values.astype(np.float32), "float16").dtype == np.float16


def test_the_grid_is_that_of_the_dequantize_linear_behind_the_cache(layered: Path) -> None:
    bundle = Bundle.load(layered)
    exact, graph = (bundle.manifest.graph("encoder", p) for p in ("fp32", "int8"))
    path = layered / graph.file
    constants = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    scale, zero = (
        float(onnx.numpy_helper.to_array(constants[f"encoder.b.input.{part}"]))
        for part in ("scale", "zero")
    )
    assert cache_grids(path, graph) == {"cache_000": Grid(scale, zero)}
    assert cache_grids(layered / exact.file, exact) == {"cache_000": EXACT}


def test_bytes_that_nothing_dequantizes_are_pixels_and_int8_is_unknown(tiny: Path) -> None:
    graph = Bundle.load(tiny).manifest.graph("encoder")
    of_bytes: tuple[tuple[DType, Grid | None], ...] = (("uint8", PIXELS), ("int8", None))
    for dtype, expected in of_bytes:
        inputs = tuple(
            replace(spec, dtype=dtype) if spec.name == "cache_000" else spec
            for spec in graph.inputs
        )
        grids = cache_grids(tiny / graph.file, replace(graph, inputs=inputs))
        assert grids == {"cache_000": expected}
