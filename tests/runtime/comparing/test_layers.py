"""Layer by layer: the one that loses what came into it is named, not those behind it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from layered_bundle import LAYERS, shuffled_kernel, wrong_scale
from wrong_graphs import spoil

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.comparing.compare import Looked, compare, look_into
from vidtok_edge.runtime.comparing.decibels import BEST_DB
from vidtok_edge.runtime.comparing.limits import LOSS
from vidtok_edge.runtime.comparing.side import sides_of

pytest.importorskip("polygraphy", reason="the extra debug is not installed")


def looked_into(folder: Path, backends: str = "cpu:fp32,cpu:int8") -> Looked:
    return look_into(compare(sides_of([Bundle.load(folder)], backends.split(",")), threads=1))


def test_layers_without_a_fault_lose_little(layered: Path) -> None:
    table = looked_into(layered).table
    layers = {figure.leaving.layer for figure in table.figures}
    assert {f"encoder.{name}" for name in LAYERS} <= layers
    assert table.first is None
    assert max(figure.lost for figure in table.figures) < LOSS
    assert min(figure.went_out for figure in table.figures) < 60, "INT8 rounds"


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("fault", ["kernel", "scale"])
def test_the_layer_with_a_fault_is_named(layered: Path, layer: str, fault: str) -> None:
    planted = shuffled_kernel(layer) if fault == "kernel" else wrong_scale(layer, 3)
    spoil(layered, "encoder", planted, "int8")
    table = looked_into(layered).table
    assert table.first is not None
    assert table.first.leaving.layer == table.worst[0].leaving.layer == f"encoder.{layer}"
    assert table.worst[0].lost > LOSS


def test_both_sides_are_given_the_same(layered: Path) -> None:
    """Of what goes in nothing is lost, though the second side's cache is integers."""
    looked = looked_into(layered)
    first, second = looked.case.first, looked.case.second
    assert set(first) == set(second) == {"frames", "start", "cache_000"}
    assert first["cache_000"].dtype == np.float32 and second["cache_000"].dtype == np.uint8
    by_node = {figure.leaving.node: figure for figure in looked.table.figures}
    assert by_node["step/Transpose"].went_out == BEST_DB


def test_a_graph_is_compared_with_the_one_it_was(layered: Path) -> None:
    before = Path(shutil.copytree(layered, layered.with_name("before")))
    spoil(layered, "encoder", shuffled_kernel("c"), "int8")
    bundles = [Bundle.load(before), Bundle.load(layered)]
    looked = look_into(compare(sides_of(bundles, ["cpu:int8"]), threads=1))
    assert looked.table.first is not None
    assert looked.table.first.leaving.layer == "encoder.c"
    ahead = [f for f in looked.table.figures if f.leaving.layer in ("encoder.a", "encoder.b")]
    assert ahead and all(figure.went_out == BEST_DB for figure in ahead)
