"""A bundle of hand-made graphs that run in microseconds, with state, start and ready.

The cache [B, 1] sums the mean brightness of each call's frames (encoder) or tokens (decoder); the
result is that sum everywhere, and the encoder's `latent` too. `streams` 2, chunk
1, factors 4 and 8, 16x16 frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vidtok_edge.runtime.bundle import MANIFEST
from vidtok_edge.runtime.files import sha256_of
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement, TensorSpec
from vidtok_edge.runtime.manifest.manifest import SCHEMA, Manifest
from vidtok_edge.runtime.manifest.model import ModelFacts, WeightsFacts

__all__ = ["tiny_manifest", "write_tiny_bundle"]

B, T, SIZE, GRID = 2, 4, 16, 2
TOKENS = TensorSpec("tokens", "int32", (B, 1, GRID, GRID))
LATENT = TensorSpec("latent", "float32", (B, 1, GRID, GRID))
FRAMES = TensorSpec("frames", "uint8", (B, T, SIZE, SIZE, 3))
CONTROLS = (TensorSpec("start", "bool", (B, 1)), TensorSpec("ready", "bool", (B, 1)))
CACHE = TensorSpec("cache_000", "float32", (B, 1))
NEW_CACHE = TensorSpec("new_cache_000", "float32", (B, 1))


def write_tiny_bundle(folder: Path) -> Manifest:
    """Write the bundle into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, data, result in (("encoder", FRAMES, TOKENS), ("decoder", TOKENS, FRAMES)):
        onnx.save(_model(data, _results(kind, result)), folder / f"{kind}.fp32.onnx")
        (folder / f"{kind}.fp32.onnx.data").write_bytes(b"")
    manifest = tiny_manifest(folder)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def tiny_manifest(folder: Path) -> Manifest:
    """The manifest of the tiny bundle whose graphs lie in `folder`."""
    return Manifest(
        schema=SCHEMA,
        toolkit="0",
        model=ModelFacts("tiny", "1.0", True, "fsq", (8,) * 5, 5, T, SIZE // GRID),
        promise="exact",
        height=SIZE,
        width=SIZE,
        streams=B,
        chunk=1,
        io="uint8",
        weights=WeightsFacts("random", "", ""),
        verified=False,
        graphs=(_spec(folder, "encoder"), _spec(folder, "decoder")),
    )


def _spec(folder: Path, kind: Literal["encoder", "decoder"]) -> GraphSpec:
    data, result = (FRAMES, TOKENS) if kind == "encoder" else (TOKENS, FRAMES)
    file = folder / f"{kind}.fp32.onnx"
    weights = file.with_name(file.name + ".data")
    return GraphSpec(
        kind,
        "fp32",
        Placement.ANY,
        "conv2d",
        20,
        file.name,
        sha256_of(file),
        weights.name,
        sha256_of(weights),
        (data, *CONTROLS, CACHE),
        (*_results(kind, result), NEW_CACHE),
    )


def _results(kind: str, result: TensorSpec) -> tuple[TensorSpec, ...]:
    return (result, LATENT) if kind == "encoder" else (result,)


def _model(data: TensorSpec, results: tuple[TensorSpec, ...]) -> onnx.ModelProto:
    axes, result = range(1, len(data.shape)), results[0]
    nodes = [
        helper.make_node("Cast", [data.name], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["now"]),
        helper.make_node("Where", ["start", "zero", "cache_000"], ["past"]),
        helper.make_node("Add", ["past", "now"], ["sum"]),
        helper.make_node("Where", ["ready", "sum", "cache_000"], ["new_cache_000"]),
        helper.make_node("Reshape", ["sum", "spread"], ["wide"]),
        helper.make_node("Expand", ["wide", "shape"], ["full"]),
        *(helper.make_node("Cast", ["full"], [r.name], to=_type(r)) for r in results),
    ]
    constants = {
        "axes": list(axes),
        "one": [1],
        "spread": [-1, *[1] * (len(result.shape) - 1)],
        "shape": list(result.shape),
    }
    initializers = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()]
    initializers.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        _values([data, *CONTROLS, CACHE]),
        _values([*results, NEW_CACHE]),
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _values(specs: Sequence[TensorSpec]) -> list[Any]:
    return [helper.make_tensor_value_info(s.name, _type(s), s.shape) for s in specs]


def _type(spec: TensorSpec) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)))
