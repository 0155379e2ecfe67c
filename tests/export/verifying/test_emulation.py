"""What is quick to emulate gives what the graph itself gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vidtok_edge.export.verifying.emulation import write_quick_copy

VERSION = tuple(int(part) for part in ort.__version__.split(".")[:2])
SCALES = (np.float16(2**-7), np.float16(0.0103), np.float16(6e-8))


def write_graph(path: Path) -> None:
    """x float16 to its integers on each grid, the middle one twice."""
    names = [f"scale_{i}" for i in (0, 1, 2, 1)]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", name, "zero"], [f"y{i}"])
            for i, name in enumerate(names)
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [None])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.INT8, [None]) for i in range(4)],
        [numpy_helper.from_array(np.array(s), f"scale_{i}") for i, s in enumerate(SCALES)]
        + [numpy_helper.from_array(np.array(3, np.int8), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save_model(model, str(path), save_as_external_data=True, location=f"{path.name}.data")


def outputs(path: Path, x: NDArray[np.float16]) -> list[NDArray[np.int8]]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results: list[NDArray[np.int8]] = session.run(None, {"x": x})
    return results


def quantized(x: NDArray[np.float16], scale: np.float16) -> NDArray[np.int8]:
    integers = np.rint(x.astype(np.float32) / np.float32(scale)) + 3
    result: NDArray[np.int8] = integers.clip(-128, 127).astype(np.int8)
    return result


def test_every_float16_falls_on_the_same_integer(tmp_path: Path) -> None:
    written, copied = tmp_path / "written", tmp_path / "copied"
    written.mkdir()
    copied.mkdir()
    write_graph(written / "g.onnx")
    write_quick_copy(written / "g.onnx", copied)
    bits = np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(np.float16)
    every = bits[np.isfinite(bits)]
    got = outputs(copied / "g.onnx", every)
    for index, result in zip((0, 1, 2, 1), got, strict=True):
        np.testing.assert_array_equal(result, quantized(every, SCALES[index]))
    if VERSION >= (1, 32):  # 1.23 rounds 0.5003 in FP16 to 0
        for a, b in zip(outputs(written / "g.onnx", every), got, strict=True):
            np.testing.assert_array_equal(a, b)
    kinds = [node.op_type for node in onnx.load(copied / "g.onnx").graph.node]
    assert kinds == ["Cast", "QuantizeLinear"] * 4
