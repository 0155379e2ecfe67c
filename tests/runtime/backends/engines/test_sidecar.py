"""The sidecar decides: an engine of anything else, or a changed one, is named and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine_sidecars
import pytest
from engine_sidecars import PROOF

from vidtok_edge.errors import EngineMissing, EngineStale
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.sidecar import (
    SIDECAR_SCHEMA,
    EngineHost,
    EngineSidecar,
    check_engine,
    engine_file,
    layers_sha256,
    mismatches,
)
from vidtok_edge.runtime.manifest.graphs import Placement

HERE = EngineHost(Target.TENSORRT, "10.3.0", "sm87", "Orin", "Linux aarch64")
BLOB = b"an engine"


def sidecar_of(bundle: Bundle, host: EngineHost = HERE) -> EngineSidecar:
    graph = bundle.manifest.graph("encoder", placement=Placement.TENSORRT)
    return engine_sidecars.sidecar_of(graph, BLOB, host)


@pytest.fixture
def bundle(tiny: Path) -> Bundle:
    """A tiny bundle with an engine of its encoder for HERE."""
    loaded = Bundle.load(tiny)
    write(loaded, sidecar_of(loaded))
    return loaded


def place(bundle: Bundle, gpu: str = "sm87") -> Path:
    graph = bundle.manifest.graph("encoder", placement=Placement.TENSORRT)
    return engine_file(bundle.path, graph, "tensorrt", gpu)


def write(bundle: Bundle, sidecar: EngineSidecar, blob: bytes = BLOB) -> None:
    path = place(bundle)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(blob)
    path.with_suffix(".json").write_text(sidecar.to_json())


def check(bundle: Bundle, here: EngineHost = HERE) -> EngineSidecar:
    graph = bundle.manifest.graph("encoder", placement=Placement.TENSORRT)
    return check_engine(bundle.path, graph, here.target, here).sidecar


def test_an_engine_that_fits_is_found(bundle: Bundle) -> None:
    assert check(bundle) == sidecar_of(bundle)
    assert place(bundle).name == "encoder.fp32.tensorrt.sm87.engine"


def test_none_is_missing_and_the_line_that_builds_it_is_given(bundle: Bundle) -> None:
    with pytest.raises(EngineMissing, match=r"vidtok-edge build .* --target tensorrt"):
        check(bundle, replace(HERE, gpu="sm86"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "10.16.1"}, "TensorRT version: built for 10.16.1, here 10.3.0"),
        ({"gpu": "sm86"}, "GPU: built for sm86, here sm87"),
        ({"gpu_name": "Orin Nano"}, "GPU model: built for Orin Nano, here Orin"),
        ({"platform": "Linux x86_64"}, "platform: built for Linux x86_64"),
        ({"target": "tensorrt-rtx"}, "target: built for tensorrt-rtx"),
        ({"graph": "decoder.fp32"}, "graph: built for decoder.fp32"),
        ({"onnx_sha256": "0" * 64}, "ONNX sha256: built for 0000"),
        ({"data_sha256": "0" * 64}, "weights sha256: built for 0000"),
        ({"precision": "fp16"}, "precision: built for fp16, here fp32"),
        (
            {"flags": ("STRONGLY_TYPED",)},
            "flags: built for STRONGLY_TYPED, here",
        ),
        ({"form": "conv3d"}, "form: built for conv3d, here conv2d"),
        ({"int8_layers_sha256": layers_sha256(["a"])}, "INT8 layers: built for"),
        ({"engine_bytes": 8}, "engine: 9 bytes, the sidecar says 8"),
        ({"engine_sha256": "0" * 64}, "the sidecar says 0000"),
    ],
)
def test_each_mismatch_is_named(bundle: Bundle, change: dict[str, Any], message: str) -> None:
    write(bundle, replace(sidecar_of(bundle), **change))
    with pytest.raises(EngineStale, match=message) as caught:
        check(bundle)
    assert len(caught.value.mismatches) == 1
    assert "Build it on this machine with: vidtok-edge build" in str(caught.value)


def test_all_mismatches_are_named_at_once(bundle: Bundle) -> None:
    write(bundle, replace(sidecar_of(bundle), version="11.4.0", gpu_name="Thor", form="conv3d"))
    with pytest.raises(EngineStale) as caught:
        check(bundle)
    assert len(caught.value.mismatches) == 3


def test_an_rtx_engine_is_for_every_gpu_of_its_architecture(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    graph = bundle.manifest.graph("encoder")
    ahead = EngineHost(Target.TENSORRT_RTX, "1.7.1.116", "sm86", "", "Linux x86_64")
    there = replace(ahead, gpu_name="NVIDIA RTX A2000", platform="Windows AMD64")
    assert mismatches(sidecar_of(bundle, ahead), graph, there) == ()


def edited(text: str) -> str:
    return text.replace('"version": "10.3.0"', '"version": "10.3.1"')


def with_digest_dropped(text: str) -> str:
    return json.dumps({k: v for k, v in json.loads(text).items() if k != "digest"})


def with_another_field(text: str) -> str:
    return json.dumps({**json.loads(text), "more": 1})


def with_another_type(text: str) -> str:
    return json.dumps({**json.loads(text), "engine_bytes": "9"})


def of_another_schema(text: str) -> str:
    return json.dumps({**json.loads(text), "schema": SIDECAR_SCHEMA - 1})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited, "edited"),
        (with_digest_dropped, "edited"),
        (with_another_field, "'more' is not a known field"),
        (with_another_type, "engine_bytes: expected int"),
        (of_another_schema, "schema: this toolkit reads"),
        (lambda text: text[:-40], "sidecar"),
        (lambda text: "[]", "no object"),
        (lambda text: "[" * 100_000, "sidecar"),
        (lambda text: " " * (1 << 21), "1 MiB"),
    ],
)
def test_an_edited_sidecar_is_noticed(
    bundle: Bundle, edit: Callable[[str], str], message: str
) -> None:
    path = place(bundle).with_suffix(".json")
    path.write_text(edit(path.read_text()))
    with pytest.raises(EngineStale, match=message):
        check(bundle)


def test_an_engine_without_a_sidecar_is_not_loaded(bundle: Bundle) -> None:
    place(bundle).with_suffix(".json").unlink()
    with pytest.raises(EngineStale, match="missing"):
        check(bundle)


def test_a_changed_engine_is_noticed(bundle: Bundle) -> None:
    place(bundle).write_bytes(b"an Engine")
    with pytest.raises(EngineStale, match="SHA-256"):
        check(bundle)


def test_a_proof_counts_work_not_only_layers() -> None:
    assert PROOF.work_permille("int8") == 750
    assert PROOF.layers("fp32") == 2
    assert str(PROOF) == (
        "fp32 25.0 % of the work in 2 of 8 layers; int8 75.0 % of the work in 6 of 8 layers "
        "(network)"
    )
