"""Fusions are broken where a pattern says so, and the sidecar says where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from engine_graphs import LAYER, C, H, W, write_engine_bundle

from vidtok_edge.errors import EngineRefused, UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import INetworkDefinition
from vidtok_edge.runtime.backends.engines.building.build import (
    BuilderOptions,
    BuildRequest,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.backends.engines.building.fusions import break_fusions, check_unfused
from vidtok_edge.runtime.backends.engines.sidecar import EngineFile, EngineSidecar
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec

RESULT = TensorSpec("z", "float16", (1, C, H - 2, W))
"""What leaves the convolution of the small graph in FP16 and INT8."""


@pytest.fixture
def bundle(tiny: Path) -> Path:
    """A bundle of small graphs in fp16 and INT8."""
    write_engine_bundle(tiny, Bundle.load(tiny).manifest, "fp16", "int8")
    return tiny


def fp16(folder: Path) -> GraphSpec:
    return next(g for g in Bundle.load(folder).manifest.graphs if g.precision == "fp16")


class Network:
    """A TensorRT network whose layers each make one tensor."""

    def __init__(self, **kinds: str) -> None:
        self.tensors = {
            name: SimpleNamespace(name=name, dtype=SimpleNamespace(name=kind), shape=(1, 2))
            for name, kind in kinds.items()
        }
        self.num_layers, self.marked = len(kinds), list[str]()

    def get_layer(self, index: int) -> Any:
        tensor = list(self.tensors.values())[index]
        return SimpleNamespace(num_outputs=1, get_output=lambda output: tensor)

    def mark_output(self, tensor: Any) -> None:
        self.marked.append(tensor.name)


def broken(network: Network, folder: Path, *patterns: str) -> tuple[TensorSpec, ...]:
    return break_fusions(cast(INetworkDefinition, network), folder, fp16(folder), patterns)


def test_what_leaves_the_layers_is_marked(bundle: Path) -> None:
    network = Network(all="HALF", z="HALF", y="HALF", new_cache_000="HALF")
    assert broken(network, bundle, "layer.*") == (TensorSpec("z", "float16", (1, 2)),)
    assert network.marked == ["z"]
    network.marked.clear()
    assert [spec.name for spec in broken(network, bundle, "*")] == ["all", "z"] == network.marked
    assert broken(network, bundle) == broken(network, bundle, "of the other half") == ()


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Network(y="HALF"), "has no tensor z, so no fusion"),
        (Network(z="INT64"), "z of encoder.fp16.onnx is INT64"),
    ],
)
def test_what_cannot_be_marked_is_refused(bundle: Path, network: Network, said: str) -> None:
    with pytest.raises(EngineRefused, match=said):
        broken(network, bundle, LAYER)
    assert network.marked == []


def test_a_pattern_that_matches_no_layer_is_refused(bundle: Path) -> None:
    check_unfused(bundle, [fp16(bundle)], ["layer", "*.conv1"])
    with pytest.raises(UsageError, match=r"No layer matches 'layer.conv2'. .*like layer.conv1"):
        check_unfused(bundle, [fp16(bundle)], ["layer.conv2"])


# --- with TensorRT-RTX, which builds without a GPU --------------------------------------------


def request(folder: Path, *patterns: str) -> BuildRequest:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    options = BuilderOptions(unfused=patterns)
    return BuildRequest(folder, Target.TENSORRT_RTX, gpus=("sm86",), options=options)


def built(folder: Path, *patterns: str) -> list[EngineFile]:
    return build_engines(plan_engines(request(folder, *patterns)))


def test_an_engine_says_what_it_writes_beside_its_graph(bundle: Path) -> None:
    for engine in built(bundle, LAYER):
        assert engine.sidecar.unfused == (LAYER,)
        assert engine.sidecar.extra_outputs == (RESULT,)
        read = EngineSidecar.from_json(engine.path.with_suffix(".json").read_text())
        assert read == engine.sidecar


def test_an_engine_is_kept_until_other_fusions_are_to_be_broken(bundle: Path) -> None:
    plain = built(bundle)
    assert plain[0].sidecar.extra_outputs == () == plain[0].sidecar.unfused
    assert '"unfused"' not in plain[0].path.with_suffix(".json").read_text(), "as it was before"
    planned = plan_engines(request(bundle, LAYER)).engines
    assert {engine.why for engine in planned} == {
        f"broken fusions: built with none, asked for {LAYER}"
    }
    built(bundle, LAYER)
    assert not any(plan_engines(request(bundle, LAYER)).engines)
    assert not any(plan_engines(request(bundle)).engines), "nothing was asked for"
    assert all(plan_engines(replace(request(bundle), rebuild=True)).engines)


def test_a_plan_refuses_a_pattern_that_matches_nothing(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"No layer matches 'decoder\.mid"):
        plan_engines(request(bundle, "decoder.mid.*"))
    assert not (bundle / "engines").exists()
