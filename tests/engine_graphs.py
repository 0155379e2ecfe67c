"""Hand-made graphs and bundles for the tests of engines: what a step graph does, in microseconds.

The graph has a convolution `layer.conv1` over frames and a cache, in fp32, fp16 or INT8, and a
matrix product. In INT8 the cache is INT8 too, and goes straight into DequantizeLinear.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from vidtok_edge.runtime.bundle import MANIFEST
from vidtok_edge.runtime.files import sha256_of
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement, Precision, graph_name
from vidtok_edge.runtime.manifest.manifest import Manifest

__all__ = ["CONV_WORK", "LAYER", "MATMUL_WORK", "small_graph", "write_engine_bundle"]

LAYER = "layer.conv1"
C, H, W = 32, 18, 16
CONV_WORK = C * 16 * W * C * 9
"""Multiply-adds of the convolution: 32 x 16 x 16 outputs, 32 x 3 x 3 taps."""
MATMUL_WORK = C * 16 * 16 * 16
"""Multiply-adds of the product of 32 matrices of 16 x 16."""


def small_graph(precision: Precision) -> ModelProto:
    """Inputs `x` [1, 32, 16, 16] and `cache_000` [1, 32, 2, 16]; outputs `y`, `new_cache_000`."""
    half = precision != "fp32"
    real, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    int8 = precision == "int8"
    cache = TensorProto.INT8 if int8 else real
    nodes = [*_quantised(), *_tail()] if int8 else [*_plain(), *_tail()]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "step",
            [_value("x", real, [1, C, 16, W]), _value("cache_000", cache, [1, C, 2, W])],
            [_value("y", real, [1, C, 16, 16]), _value("new_cache_000", cache, [1, C, 2, W])],
            _constants(dtype, int8),
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def write_engine_bundle(folder: Path, tiny: Manifest, *precisions: Precision) -> None:
    """Replace the graphs of the tiny bundle in `folder` by small ones in each of `precisions`.

    The manifest is that of the tiny bundle: no stream can run them, but engines can be built.
    """
    graphs = []
    for precision in precisions:
        for spec in tiny.graphs:
            placement = Placement.TENSORRT if precision == "int8" else Placement.ANY
            name = graph_name(spec.kind, precision, placement)
            onnx.save(small_graph(precision), folder / f"{name}.onnx")
            (folder / f"{name}.onnx.data").write_bytes(b"")
            graphs.append(_spec(spec, folder / f"{name}.onnx", precision))
    manifest = replace(tiny, graphs=tuple(graphs))
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _spec(spec: GraphSpec, file: Path, precision: Precision) -> GraphSpec:
    return replace(
        spec,
        precision=precision,
        placement=Placement.TENSORRT if precision == "int8" else Placement.ANY,
        file=file.name,
        sha256=sha256_of(file),
        data_file=f"{file.name}.data",
        int8_layers=(LAYER,) if precision == "int8" else (),
        work_int8_permille=1000 if precision == "int8" else 0,
    )


def _plain() -> list[Any]:
    return [
        helper.make_node("Concat", ["cache_000", "x"], ["all"], axis=2, name="layer/Concat"),
        helper.make_node("Conv", ["all", "weight", "bias"], ["z"], pads=[0, 1, 0, 1], name=LAYER),
        helper.make_node("Slice", ["all", "-2", "end", "rows"], ["new_cache_000"], name="layer/Sl"),
    ]


def _quantised() -> list[Any]:
    return [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"], name="layer/Q"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"], name="layer/DQ"),
        helper.make_node("DequantizeLinear", ["cache_000", "scale", "zero"], ["cd"], name="c/DQ"),
        helper.make_node("Concat", ["cd", "xd"], ["all"], axis=2, name="layer/Concat"),
        helper.make_node("QuantizeLinear", ["all", "scale", "zero"], ["aq"], name="layer/Q.1"),
        helper.make_node("DequantizeLinear", ["aq", "scale", "zero"], ["ad"], name="layer/DQ.1"),
        helper.make_node(
            "DequantizeLinear",
            ["weight", "scales", "zeros"],
            ["wd"],
            axis=0,
            name="layer.weight/DQ",
        ),
        helper.make_node("Conv", ["ad", "wd", "bias"], ["z"], pads=[0, 1, 0, 1], name=LAYER),
        helper.make_node("Slice", ["xd", "-2", "end", "rows"], ["n"], name="layer/Slice"),
        helper.make_node("QuantizeLinear", ["n", "scale", "zero"], ["new_cache_000"], name="n/Q"),
    ]


def _tail() -> list[Any]:
    return [helper.make_node("MatMul", ["z", "z"], ["y"], name="layer/MatMul")]


def _constants(dtype: type, int8: bool) -> list[TensorProto]:
    random = np.random.default_rng(0)
    weight: NDArray[Any] = random.normal(0, 0.05, (C, C, 3, 3)).astype(dtype)
    values: dict[str, NDArray[Any]] = {
        "weight": weight,
        "bias": np.zeros(C, dtype),
        "-2": np.array([-2]),
        "end": np.array([2**31]),
        "rows": np.array([2]),
    }
    if int8:
        values["weight"] = np.clip(np.round(weight / 0.002), -127, 127).astype(np.int8)
        values |= {"scale": np.array(0.05, dtype), "zero": np.array(0, np.int8)}
        values |= {"scales": np.full(C, 0.002, dtype), "zeros": np.zeros(C, np.int8)}
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _value(name: str, kind: int, shape: list[int]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)
