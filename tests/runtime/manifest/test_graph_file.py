"""Graphs that would run more than arithmetic, or read files of others, are refused unread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from vidtok_edge.errors import BundleGraphRefused
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.graph_file import check_graph_file

DATA = "encoder.fp32.onnx.data"


def changed(tiny: Path, change: Callable[[ModelProto], None]) -> Path:
    """The encoder's file, changed."""
    path = tiny / "encoder.fp32.onnx"
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def with_branch(model: ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "branch", [], [])
    model.graph.node.append(
        helper.make_node("If", ["start"], ["z"], then_branch=branch, else_branch=branch)
    )


def with_operator(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("NonZero", ["x"], ["y"]))


def with_custom_operator(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Add", ["x", "x"], ["y"], domain="com.microsoft"))


def with_function(model: ModelProto) -> None:
    node = helper.make_node("Add", ["a", "a"], ["b"])
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], [node], opsets))


def with_domain(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("mine", 1))


def external(location: str) -> TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def with_other_weights(model: ModelProto) -> None:
    model.graph.initializer.append(external("../../etc/passwd"))


def with_other_constant(model: ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"], value=external("/etc/passwd"))
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_branch, r"control flow \(a graph inside an operator\)"),
        (with_operator, "uses the operator NonZero"),
        (with_custom_operator, r"uses operators of com\.microsoft"),
        (with_function, "has functions of its own"),
        (with_domain, "uses operators of mine"),
        (with_other_weights, r"has weights in \.\./\.\./etc/passwd, the manifest names"),
        (with_other_constant, "has weights in /etc/passwd"),
    ],
)
def test_a_graph_that_is_no_step_graph_is_refused(
    change: Callable[[ModelProto], None], why: str, tiny: Path
) -> None:
    Bundle.load(tiny)
    changed(tiny, change)
    with pytest.raises(BundleGraphRefused, match=f"encoder.fp32.onnx .*{why}"):
        Bundle.load(tiny)


def test_weights_beside_the_file_are_no_others(tiny: Path) -> None:
    path = changed(tiny, lambda model: model.graph.initializer.append(external(DATA)))
    check_graph_file(path, DATA)


@pytest.mark.parametrize("content", [b"", b"\x00", b"{}" * 40, b"\xff" * 100])
def test_what_is_no_onnx_file_is_refused(content: bytes, tiny: Path) -> None:
    (tiny / "encoder.fp32.onnx").write_bytes(content)
    with pytest.raises(BundleGraphRefused, match=r"it is no ONNX file|is no ONNX file|cut off"):
        Bundle.load(tiny)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_damage_is_found_or_harmless(data: st.DataObject, tiny: Path) -> None:
    """Never another error than ValueError, which `Bundle` puts into words."""
    content = bytearray((tiny / "decoder.fp32.onnx").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] = data.draw(st.integers(0, 255))
    path = tiny / "damaged.onnx"
    path.write_bytes(content)
    try:
        check_graph_file(path, DATA)
    except ValueError as error:
        assert str(error)
