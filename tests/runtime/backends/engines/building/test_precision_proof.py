"""What runs in which precision, and that an engine in the wrong one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vidtok_edge.errors import CheckFailed
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.engines.building.precision_proof import (
    ComputeLayer,
    check_proof,
    proof_from_inspector,
    proof_from_network,
)
from vidtok_edge.runtime.manifest.graphs import GraphSpec

INT8 = ComputeLayer("conv1", 700, "int8")
HALF = ComputeLayer("conv2", 200, "fp16")
FULL = ComputeLayer("attn/MatMul", 100, "fp32")


@pytest.fixture
def graph(tiny: Path) -> GraphSpec:
    """A graph of a manifest, fp32."""
    return Bundle.load(tiny).manifest.graphs[0]


def test_the_network_says_what_is_demanded() -> None:
    proof = proof_from_network([INT8, HALF, FULL])
    assert proof.source == "network"
    assert [(s.precision, s.layers, s.multiply_adds) for s in proof.shares] == [
        ("fp32", 1, 100),
        ("fp16", 1, 200),
        ("int8", 1, 700),
    ]


def test_the_inspector_says_what_runs() -> None:
    """The form of TensorRT 10's JSON as its documentation shows it; unverified on hardware."""
    int8 = [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]
    half = [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]
    metadata = "[ONNX Layer: conv1/Q]\x1e[ONNX Layer: conv1]"
    region = "{ForeignNode[attn/MatMul...attn/MatMul.1]}"
    layers = [
        {"Name": "conv1", "Metadata": metadata, "Inputs": int8},
        {"Name": "conv2 + silu/Mul", "Inputs": half},
        {"Name": region, "Metadata": "[ONNX Layer: attn/MatMul]"},
    ]
    proof = proof_from_inspector([INT8, HALF, FULL], json.dumps({"Layers": layers}))
    assert proof.source == "engine inspector"
    assert {s.precision: s.multiply_adds for s in proof.shares} == {
        "int8": 700,
        "fp16": 200,
        "unknown": 100,
    }


@pytest.mark.parametrize(("sums", "count"), [("f16f16", 1), ("f16f32", 0)])
def test_the_kernel_says_in_what_it_sums(sums: str, count: int) -> None:
    """Names as TensorRT 10.6 gave them on an H200."""
    last = sums[-3:]
    kernel = f"sm90_xmma_fprop_implicit_gemm_f16f16_{sums}_{last}_nhwckrsc_nhwc_tilesize64x64x64"
    layers = [
        {"Name": "conv2", "LayerType": "CaskConvolution", "TacticName": kernel},
        {"Name": "__myl_MovMulSub_myl40_0", "TacticName": "__myl_MovMulSub_0xe63b6f2c"},
    ]
    proof = proof_from_inspector([INT8, HALF], json.dumps({"Layers": layers}))
    assert proof.fp16_sums == count
    assert ("; 1 of 2 sum in fp16 (" in str(proof)) == bool(count)


def test_what_was_told_to_sum_in_float32_counts_as_fp16() -> None:
    """Its factors are read as float32, and have the values of FP16."""
    full = [{"Format/Datatype": "Channel major FP32 format where channel % 4 == 0"}]
    layers = [{"Name": name, "Inputs": full} for name in ("conv2", "attn/MatMul")]
    proof = proof_from_inspector([HALF, FULL], json.dumps({"Layers": layers}), ["conv2"])
    assert {s.precision: s.multiply_adds for s in proof.shares} == {"fp16": 200, "fp32": 100}
    assert "; 1 of 2 sum in float32 (engine inspector)" in str(proof)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": ["conv1", 7]}', '{"Layers": [{}]}'])
def test_an_inspector_that_says_nothing_proves_nothing(text: str) -> None:
    assert proof_from_inspector([INT8, HALF], text).work_permille("unknown") == 1000


def test_what_was_asked_for_passes(graph: GraphSpec) -> None:
    check_proof(graph, proof_from_network([FULL]), [FULL])
    half = [HALF, FULL]
    check_proof(replace(graph, precision="fp16"), proof_from_network(half), half)
    layers = [INT8, HALF]
    asked = replace(graph, precision="int8", int8_layers=("conv1",))
    check_proof(asked, proof_from_network(layers), layers)


def test_fp16_that_came_out_fp32_fails(graph: GraphSpec) -> None:
    layers = [FULL, replace(FULL, name="conv3"), replace(HALF, multiply_adds=1)]
    with pytest.raises(CheckFailed, match=r"was to be fp16.*fp32 99"):
        check_proof(replace(graph, precision="fp16"), proof_from_network(layers), layers)


def test_int8_layers_that_are_not_int8_fail(graph: GraphSpec) -> None:
    asked = replace(graph, precision="int8", int8_layers=("conv1", "conv2"))
    layers = [INT8, HALF]
    with pytest.raises(CheckFailed, match="1 of them do not, for one conv2"):
        check_proof(asked, proof_from_network(layers), layers)


def test_an_int8_engine_that_runs_in_fp16_fails(graph: GraphSpec) -> None:
    asked = replace(graph, precision="int8", int8_layers=("conv1",))
    ran = proof_from_network([replace(INT8, precision="fp16"), HALF])
    with pytest.raises(CheckFailed, match="INT8"):
        check_proof(asked, ran, [INT8, HALF])
