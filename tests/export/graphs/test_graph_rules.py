"""Every rule for step graphs fails on a graph that breaks it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from int8_sums import convolution, save_beside
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from vidtok_edge.export.graphs.graph_rules import (
    IR_VERSION,
    GraphRuleBroken,
    check_graph,
    check_sums,
)
from vidtok_edge.lowering.interface import Interface
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.runtime.manifest.graphs import OPSET, DType, Placement, TensorSpec

TYPES = {"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int32": TensorProto.INT32}
SHAPE = (2, 3)


def spec(name: str, dtype: DType = "float32", shape: tuple[int, ...] = SHAPE) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


INTERFACE = Interface(
    (
        spec("frames"),
        spec("start", "bool", (2, 1)),
        spec("cache_000"),
        spec("cache_001", shape=(2, 1)),
    ),
    (spec("latent"), spec("new_cache_000"), spec("new_cache_001", shape=(2, 1))),
)


def value_of(tensor: TensorSpec) -> ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, TYPES[tensor.dtype], tensor.shape)


def small_graph(interface: Interface = INTERFACE) -> ModelProto:
    """A graph that keeps every rule: past + frames, and two caches."""
    old = [s.name for s in interface.inputs if s.name.startswith("cache_")]
    new = [s.name for s in interface.outputs if s.name.startswith("new_cache_")]
    nodes = [
        helper.make_node("Where", ["start", "frames", old[0]], ["past"], name="past"),
        helper.make_node("Add", ["past", "weight"], ["latent"], name="latent"),
        helper.make_node("Identity", ["frames"], [new[0]], name="keep"),
        helper.make_node("Identity", [old[1]], [new[1]], name="pass"),
    ]
    weight = numpy_helper.from_array(np.ones(SHAPE, np.float32), "weight")
    inputs = [value_of(s) for s in interface.inputs]
    outputs = [value_of(s) for s in interface.outputs]
    graph = helper.make_graph(nodes, "step", inputs, outputs, [weight])
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def test_the_small_graph_keeps_every_rule() -> None:
    model = small_graph()
    onnx.checker.check_model(model, full_check=True)
    check_graph(model, INTERFACE)


def wrong_opset(model: ModelProto) -> None:
    model.opset_import[0].version = OPSET - 1


def newest_ir_version(model: ModelProto) -> None:
    model.ir_version = IR_VERSION + 4


def second_opset(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def local_function(model: ModelProto) -> None:
    opset = helper.make_opsetid("", OPSET)
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("local", "f", ["x"], ["y"], [node], [opset]))


def if_node(model: ModelProto) -> None:
    node = helper.make_node("Identity", ["frames"], ["branch"])
    branch = helper.make_graph([node], "branch", [], [value_of(spec("branch"))])
    model.graph.node.append(
        helper.make_node("If", ["start"], ["chosen"], then_branch=branch, else_branch=branch)
    )


def loop_node(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["frames"], ["looped"]))


def odd_operator(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("NonZero", ["frames"], ["where"]))


def unused_input(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "frames_there"
    model.graph.node[0].op_type = "Add"
    del model.graph.node[0].input[1:]
    model.graph.node[0].input.append("cache_000")


def output_without_node(model: ModelProto) -> None:
    del model.graph.node[-1]
    model.graph.node.append(helper.make_node("Identity", ["cache_001"], ["elsewhere"]))
    weight = np.ones((2, 1), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "new_cache_001"))


def double_weight(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3), "doubles"))


def changed_shape(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def dynamic_shape(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "width"


def changed_type(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32


def other_name(model: ModelProto) -> None:
    model.graph.output[0].name = "codes"


def other_order(model: ModelProto) -> None:
    first, second = model.graph.input[0].name, model.graph.input[1].name
    model.graph.input[0].name, model.graph.input[1].name = second, first


BROKEN: list[tuple[Callable[[ModelProto], None], str]] = [
    (wrong_opset, "opsets are .*19.*expected 20 alone"),
    (newest_ir_version, "IR version is 14, expected 10"),
    (second_opset, "opsets are .*com.microsoft"),
    (local_function, "local functions"),
    (if_node, "outside the allowed set: If"),
    (loop_node, "outside the allowed set: Loop"),
    (odd_operator, "outside the allowed set: NonZero"),
    (unused_input, "unused inputs: start"),
    (output_without_node, "outputs that no node makes: new_cache_001"),
    (double_weight, "float64 weights: doubles"),
    (changed_shape, "interface differs: .*frames"),
    (dynamic_shape, "interface differs: .*latent"),
    (changed_type, "interface differs: .*latent"),
    (other_name, "interface differs: .*codes"),
    (other_order, "interface differs"),
]


@pytest.mark.parametrize(("break_it", "match"), BROKEN, ids=lambda b: getattr(b, "__name__", ""))
def test_a_broken_graph_is_refused(break_it: Callable[[ModelProto], None], match: str) -> None:
    model = small_graph()
    break_it(model)
    with pytest.raises(GraphRuleBroken, match=match):
        check_graph(model, INTERFACE)


def renamed(interface: Interface, names: dict[str, str]) -> Interface:
    def rename(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(replace(s, name=names.get(s.name, s.name)) for s in specs)

    return Interface(rename(interface.inputs), rename(interface.outputs))


def reshaped(interface: Interface, name: str, dtype: DType, shape: tuple[int, ...]) -> Interface:
    def change(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(spec(name, dtype, shape) if s.name == name else s for s in specs)

    return Interface(change(interface.inputs), change(interface.outputs))


BAD_CACHES = [
    # By sorted name a server would pair cache_000 with new_cache_00 and cache_001 with
    # new_cache_000.
    (
        renamed(INTERFACE, {"new_cache_000": "new_cache_00", "new_cache_001": "new_cache_000"}),
        "sort",
    ),
    (renamed(INTERFACE, {"cache_001": "cache_1", "new_cache_001": "new_cache_10"}), "sort"),
    (renamed(INTERFACE, {"cache_000": "cache_001", "cache_001": "cache_000"}), "shape"),
    (reshaped(INTERFACE, "new_cache_000", "float32", (2, 4)), "changes its type or shape"),
    (reshaped(INTERFACE, "new_cache_000", "int32", SHAPE), "changes its type or shape"),
    (
        reshaped(
            reshaped(INTERFACE, "cache_000", "float32", (3, 2)), "new_cache_000", "float32", (3, 2)
        ),
        "axis 0",
    ),
]


@pytest.mark.parametrize(("interface", "match"), BAD_CACHES)
def test_caches_that_do_not_pair_are_refused(interface: Interface, match: str) -> None:
    """The graph says what the interface says; it is the interface that is wrong."""
    with pytest.raises(GraphRuleBroken, match=match):
        check_graph(small_graph(interface), interface)


@pytest.mark.parametrize(
    ("weight", "placement", "refused"),
    [
        (64, Placement.ONNXRUNTIME, False),
        (65, Placement.ONNXRUNTIME, True),
        (127, Placement.ONNXRUNTIME, True),
        (127, Placement.TENSORRT, False),
    ],
)
def test_int8_sums_that_can_saturate_are_refused(
    weight: int, placement: Placement, refused: bool, tmp_path: Path
) -> None:
    path, numerics = tmp_path / "graph.onnx", Numerics("int8", placement)
    save_beside(convolution(np.full((8, 8, 3, 3), weight, np.int8)), path)
    if refused:
        with pytest.raises(GraphRuleBroken, match=r"sums of 1 INT8 .* can saturate: layer"):
            check_sums(path, numerics)
    else:
        check_sums(path, numerics)


TESTS = Path(__file__).resolve().parents[1]
BY_HAND = sorted(path for path in TESTS.rglob("*.py") if "make_model(" in path.read_text("utf-8"))


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.stem)
def test_every_graph_made_by_hand_says_its_ir_version(path: Path) -> None:
    """onnx writes its newest by default, which ONNX Runtime may not read yet."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "make_model":
            assert "ir_version" in {keyword.arg for keyword in node.keywords}, node.lineno
