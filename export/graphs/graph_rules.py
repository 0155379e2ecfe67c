"""What every step graph must be, checked on each one that is written (design, "The step graph")."""

from __future__ import annotations

from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, helper

from vidtok_edge.export.graphs.dtype_rules import broken_dtype_rules
from vidtok_edge.lowering.interface import Interface
from vidtok_edge.lowering.numerics import FP32, Numerics
from vidtok_edge.runtime.manifest.graph_file import OPERATORS, QUANTISING
from vidtok_edge.runtime.manifest.graphs import OPSET, Placement, TensorSpec
from vidtok_edge.runtime.manifest.pair_sums import saturating_layers

__all__ = ["IR_VERSION", "GraphRuleBroken", "check_graph", "check_sums"]

IR_VERSION = 10
"""What the oldest ONNX Runtime reads that is declared, 1.19; onnx by itself writes its newest."""


class GraphRuleBroken(AssertionError):
    """The exporter made something that a step graph must not be; a fault of the toolkit."""


def check_graph(model: ModelProto, interface: Interface, numerics: Numerics = FP32) -> None:
    """Raise `GraphRuleBroken` unless `model` is a step graph with that interface and arithmetic."""
    graph = model.graph
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    _require(opsets == {"": OPSET}, f"opsets are {opsets}, expected {OPSET} alone")
    ir = model.ir_version
    _require(ir == IR_VERSION, f"IR version is {ir}, expected {IR_VERSION}")
    _require(not model.functions, "there are local functions")
    allowed = OPERATORS | QUANTISING if numerics.precision == "int8" else OPERATORS
    odd = sorted({node.op_type for node in graph.node} - allowed)
    _require(not odd, f"operators outside the allowed set: {', '.join(odd)}")
    _check_interface(graph, interface)
    _check_caches(interface)
    _check_use(graph)
    broken = broken_dtype_rules(model, numerics)
    _require(not broken, "; ".join(broken[:4]))


def check_sums(path: Path, numerics: Numerics) -> None:
    """Raise `GraphRuleBroken` where INT8 sums of the graph at `path` can saturate without VNNI.

    TensorRT's placement may: its products are added in 32 bits.
    """
    if numerics.placement != Placement.ONNXRUNTIME:
        return
    layers = saturating_layers(path)
    shown = ", ".join(layers[:4])
    _require(not layers, f"sums of {len(layers)} INT8 operators can saturate: {shown}")


def _check_interface(graph: GraphProto, interface: Interface) -> None:
    for expected, found in ((interface.inputs, graph.input), (interface.outputs, graph.output)):
        said = [(spec.name, spec.dtype, spec.shape) for spec in expected]
        have = [
            (
                value.name,
                helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                tuple(d.dim_value for d in value.type.tensor_type.shape.dim),
            )
            for value in found
        ]
        _require(said == have, f"interface differs: {sorted(set(said) ^ set(have))[:4]}")


def _check_caches(interface: Interface) -> None:
    """Slot first, and pairs that sort the same: a model server pairs states by sorted name."""
    batch = interface.inputs[0].shape[0]
    caches = sorted((s for s in interface.inputs if s.name.startswith("cache_")), key=_name)
    new = sorted((s for s in interface.outputs if s.name.startswith("new_cache_")), key=_name)
    _require(
        ["new_" + spec.name for spec in caches] == [spec.name for spec in new],
        "caches do not sort the same on both sides",
    )
    _require(
        all(spec.shape[0] == batch for spec in (*caches, *new)), "a cache has no slot on axis 0"
    )
    _require(
        [(s.dtype, s.shape) for s in caches] == [(s.dtype, s.shape) for s in new],
        "a cache changes its type or shape",
    )


def _name(spec: TensorSpec) -> str:
    return spec.name


def _check_use(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    unused = [value.name for value in graph.input if value.name not in used]
    _require(not unused, f"unused inputs: {', '.join(unused)}")
    made = {name for node in graph.node for name in node.output}
    passed = [value.name for value in graph.output if value.name not in made]
    _require(not passed, f"outputs that no node makes: {', '.join(passed)}")
    doubles = [t.name for t in graph.initializer if t.data_type == TensorProto.DOUBLE]
    _require(not doubles, f"float64 weights: {', '.join(doubles)}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise GraphRuleBroken(otherwise)
