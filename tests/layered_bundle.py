"""A bundle of hand-made graphs with several convolutions, in fp32 and in INT8 for ONNX Runtime.

Streams 1, chunk 1, factors 4 and 8, frames of 16x16. The encoder has the convolutions `encoder.a`
to `encoder.d`; `encoder.b` looks back one frame, and `encoder.c` adds to what went into it. Nodes
are named as the exporter names them. The decoder is that of the tiny bundle, in both precisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from tiny_bundle import write_tiny_bundle
from tiny_golden import write_tiny_golden

from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bundle import MANIFEST
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement, TensorSpec
from vidtok_edge.runtime.proving.comparing import scores
from vidtok_edge.runtime.proving.golden import Given
from vidtok_edge.runtime.proving.running import decoded, encoded
from vidtok_edge.runtime.proving.scenes import golden_frame

__all__ = ["LAYERS", "shuffled_kernel", "write_layered_bundle", "wrong_scale"]

Array = NDArray[Any]

T, SIZE, GRID = 4, 16, 2
LAYERS: Mapping[str, tuple[int, int]] = {"a": (3, 8), "b": (16, 8), "c": (8, 8), "d": (8, 1)}
"""Input and output channels of `encoder.<name>`; those of `encoder.b` are of two frames."""


def write_layered_bundle(folder: Path) -> Bundle:
    """Write it into `folder`, which is made; with a golden stream."""
    tiny = write_tiny_bundle(folder)
    ranges, decoder = _ranges(_Graph().model()), _one_stream(folder / "decoder.fp32.onnx")
    graphs = []
    for precision, graph in (("fp32", _Graph()), ("int8", _Graph(ranges))):
        for kind in ("encoder", "decoder"):
            spec = next(g for g in tiny.graphs if g.kind == kind)
            file = folder / f"{kind}.{precision}.onnx"
            model = graph.model() if kind == "encoder" else decoder
            onnx.save(model, file)
            file.with_name(f"{file.name}.data").write_bytes(b"")
            graphs.append(_spec(spec, file, precision, model))
    manifest = replace(tiny, streams=1, graphs=tuple(graphs))
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    _write_golden(folder)
    return Bundle.load(folder)


def shuffled_kernel(name: str) -> Any:
    """A fault for `wrong_graphs.spoil`: the INT8 weights of `encoder.<name>` in another order."""

    def fault(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == f"encoder.{name}.weight")
        values = numpy_helper.to_array(tensor)
        other = np.random.default_rng(3).permutation(values.ravel()).reshape(values.shape)
        tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))

    return fault


def wrong_scale(name: str, factor: float) -> Any:
    """A fault: the scale of those weights is wrong by `factor`."""

    def fault(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == f"encoder.{name}.scale")
        values = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return fault


@dataclass
class _Graph:
    """The encoder; in INT8 where the ranges of its tensors are known."""

    ranges: Mapping[str, tuple[float, float]] | None = None
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def model(self) -> ModelProto:
        self._step()
        self._a()
        self._b()
        self._c()
        self._d()
        cache = TensorProto.FLOAT if self.ranges is None else TensorProto.UINT8
        shape = [1, 1, 8, SIZE, SIZE]
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "step",
            [
                value("frames", TensorProto.UINT8, [1, T, SIZE, SIZE, 3]),
                value("start", TensorProto.BOOL, [1, 1]),
                value("cache_000", cache, shape),
            ],
            [
                value("tokens", TensorProto.INT32, [1, 1, GRID, GRID]),
                value("latent", TensorProto.FLOAT, [1, 1, GRID, GRID]),
                value("new_cache_000", cache, shape),
            ],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _step(self) -> None:
        self._node("Cast", "step/Cast", ["frames"], "bytes", to=TensorProto.FLOAT)
        self._node("Div", "step/Div", ["bytes", self._real("half", 127.5)], "div")
        self._node("Sub", "step/Sub", ["div", self._real("one", 1)], "sub")
        self._node("Transpose", "step/Transpose", ["sub"], "x", perm=[0, 1, 4, 2, 3])

    def _a(self) -> None:
        self._node("Reshape", "encoder.a/Reshape", ["x", self._shape(T, 3, SIZE, SIZE)], "x4")
        self._conv("a", self._entered("a", "x4"), "a4")
        self._node("Reshape", "encoder.a/Reshape.1", ["a4", self._shape(1, T, 8, SIZE, SIZE)], "a5")
        self._node("Sigmoid", "encoder/Sigmoid", ["a5"], "a_on")

    def _b(self) -> None:
        entered, zero = self._quantized("b", "a_on"), "encoder.b.input.zero"
        if self.ranges is None:
            zero = self._real("zeros", 0)
        self._node("Reshape", "encoder.b/Reshape", ["start", self._shape(1, 1, 1, 1, 1)], "begins")
        self._node("Where", "encoder.b/Where", ["begins", zero, "cache_000"], "past")
        self._node("Concat", "encoder.b/Concat", ["past", entered], "all", axis=1)
        for k, (begin, end, name) in enumerate(((0, T, "t0"), (1, T + 1, "t1"))):
            self._slice(f"encoder.b/Slice{'.1' * k}", "all", begin, end, name)
        self._slice("encoder.b/Slice.2", "all", T, T + 1, "new_cache_000")
        self._node("Concat", "encoder.b/Concat.1", ["t0", "t1"], "taps", axis=2)
        shape = self._shape(T, 16, SIZE, SIZE)
        self._node("Reshape", "encoder.b/Reshape.1", ["taps", shape], "b4")
        self._conv("b", self._dequantized("b", "b4"), "b_out")
        self._node("Sigmoid", "encoder/Sigmoid.1", ["b_out"], "b_on")

    def _c(self) -> None:
        self._conv("c", self._entered("c", "b_on"), "c_out")
        self._node("Add", "encoder/Add", ["b_on", "c_out"], "added")

    def _d(self) -> None:
        self._conv("d", self._entered("d", "added"), "d_out")
        self._node(
            "Reshape", "step/Reshape", ["d_out", self._shape(1, 1, T, GRID, 8, GRID, 8)], "d7"
        )
        axes = self._constant("axes", np.array([2, 4, 6]))
        self._node("ReduceMean", "step/ReduceMean", ["d7", axes], "latent", keepdims=0)
        self._node("Mul", "step/Mul", ["latent", self._real("levels", 8)], "levelled")
        self._node("Round", "step/Round", ["levelled"], "rounded")
        self._node("Clip", "step/Clip", ["rounded", self._real("least", 0)], "clipped")
        self._node("Cast", "step/Cast.1", ["clipped"], "tokens", to=TensorProto.INT32)

    # --- what is other in INT8 ------------------------------------------------------------------

    def _entered(self, name: str, tensor: str) -> str:
        return self._dequantized(name, self._quantized(name, tensor))

    def _quantized(self, name: str, tensor: str) -> str:
        if self.ranges is None:
            return tensor
        grid = self._grid(f"encoder.{name}.input", *self.ranges[tensor])
        self._node("QuantizeLinear", f"encoder.{name}/QuantizeLinear", [tensor, *grid], f"{name}q")
        return f"{name}q"

    def _dequantized(self, name: str, tensor: str) -> str:
        if self.ranges is None:
            return tensor
        grid = [f"encoder.{name}.input.{part}" for part in ("scale", "zero")]
        node = f"encoder.{name}/DequantizeLinear"
        self._node("DequantizeLinear", node, [tensor, *grid], f"{name}d")
        return f"{name}d"

    def _conv(self, name: str, tensor: str, result: str) -> None:
        inputs, outputs = LAYERS[name]
        random = np.random.default_rng(ord(name))
        weight = random.normal(0, 1.5 / np.sqrt(9 * inputs), (outputs, inputs, 3, 3))
        layer, pads = f"encoder.{name}", [1, 1, 1, 1]
        bias = self._constant(f"{layer}.bias", np.full(outputs, 0.25 * (name == "d"), np.float32))
        if self.ranges is None:
            kernel = self._constant(f"{layer}.weight", weight.astype(np.float32))
            self._node("Conv", layer, [tensor, kernel, bias], result, pads=pads)
            return
        scale = (np.abs(weight).max(axis=(1, 2, 3)) / 63).astype(np.float32)
        steps = np.round(weight / scale[:, None, None, None]).astype(np.int8)
        kernel = self._constant(f"{layer}.weight", steps)
        scales = self._constant(f"{layer}.scale", scale)
        zeros = self._constant(f"{layer}.zeros", np.zeros(outputs, np.int8))
        self._node(
            "DequantizeLinear",
            f"{layer}/DequantizeLinear.1",
            [kernel, scales, zeros],
            f"{name}w",
            axis=0,
        )
        self._node("Conv", layer, [tensor, f"{name}w", bias], f"{name}c", pads=pads)
        grid = self._grid(f"{layer}.output", *self.ranges[result])
        self._node("QuantizeLinear", f"{layer}/QuantizeLinear.1", [f"{name}c", *grid], f"{name}r")
        self._node("DequantizeLinear", f"{layer}/DequantizeLinear.2", [f"{name}r", *grid], result)

    def _grid(self, name: str, low: float, high: float) -> list[str]:
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32((high - low) / 255)
        zero = np.uint8(np.clip(round(-low / float(scale)), 0, 255))
        return [
            self._constant(f"{name}.scale", np.array(scale)),
            self._constant(f"{name}.zero", np.array(zero)),
        ]

    # --- nodes and constants ----------------------------------------------------------------------

    def _node(self, operator: str, name: str, inputs: list[str], output: str, **facts: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **facts))

    def _slice(self, name: str, tensor: str, begin: int, end: int, result: str) -> None:
        bounds = [self._constant(f"at{n}", np.array([n])) for n in (begin, end, 1)]
        self._node("Slice", name, [tensor, bounds[0], bounds[1], bounds[2]], result)

    def _constant(self, name: str, value: Array) -> str:
        self.constants[name] = value
        return name

    def _real(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _shape(self, *sizes: int) -> str:
        return self._constant("shape_" + "_".join(map(str, sizes)), np.array(sizes))


def _ranges(model: ModelProto) -> dict[str, tuple[float, float]]:
    """The least and the largest of each tensor over frames of both scenes."""
    names = [name for node in model.graph.node for name in node.output]
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in there
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: dict[str, tuple[float, float]] = {}
    for cut in (0, T):
        frames = np.stack([golden_frame(n, SIZE, SIZE, cut=cut) for n in range(T)])[None]
        cache = np.zeros((1, 1, 8, SIZE, SIZE), np.float32)
        feed = {"frames": frames, "start": np.ones((1, 1), np.bool_), "cache_000": cache}
        for name, value in zip(names, session.run(names, feed), strict=True):
            low, high = found.get(name, (np.inf, -np.inf))
            found[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return found


def _one_stream(path: Path) -> ModelProto:
    """The tiny decoder for one stream; without `ready`."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for tensor in model.graph.initializer:
        if tensor.name == "shape":
            sizes = numpy_helper.to_array(tensor).copy()
            sizes[0] = 1
            tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))
    [where] = [node for node in model.graph.node if "ready" in node.input]
    where.op_type = "Identity"
    del where.input[:]
    where.input.append("sum")
    [ready] = [value for value in model.graph.input if value.name == "ready"]
    model.graph.input.remove(ready)
    for number, node in enumerate(model.graph.node):
        node.name = f"decoder.{number}/{node.op_type}"
    return model


def _spec(spec: GraphSpec, file: Path, precision: Any, model: ModelProto) -> GraphSpec:
    def tensors(values: Any) -> tuple[TensorSpec, ...]:
        found = []
        for value in values:
            kind = value.type.tensor_type
            dtype: Any = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
            shape = tuple(d.dim_value for d in kind.shape.dim)
            found.append(TensorSpec(value.name, dtype, shape))
        return tuple(found)

    return replace(
        spec,
        precision=precision,
        placement=Placement.ONNXRUNTIME if precision == "int8" else Placement.ANY,
        file=file.name,
        sha256=sha256_of(file),
        data_file=f"{file.name}.data",
        inputs=tensors(model.graph.input),
        outputs=tensors(model.graph.output),
        cache_layers=("encoder.b",) if spec.kind == "encoder" else (),
    )


def _write_golden(folder: Path) -> None:
    golden = write_tiny_golden(folder)
    bundle = Bundle.load(folder)
    with bundle.step("encoder", "cpu", "int8") as step:
        made = encoded(bundle.manifest, step, golden.frames(), alone=True)
    with bundle.step("decoder", "cpu", "int8") as step:
        pictures = decoded(bundle.manifest, step, golden.decoder_values(), alone=True)
    given = Given(
        precision="int8",
        placement=Placement.ONNXRUNTIME,
        library="",
        encoder=tuple(scores(golden, "encoder", made.items)),
        decoder=tuple(scores(golden, "decoder", pictures.items)),
    )
    replace(golden, facts=replace(golden.facts, given=(given,))).save(folder)
