"""What lies in an exported .onnx file."""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_helpers import Exports, NarrowBundle, golden_bundle, on_one_worker
from onnx import ModelProto, TensorProto, helper
from onnxruntime import InferenceSession, SessionOptions

from vidtok_edge.export.graphs.graph import without_old_objects, write_unchecked_graph
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.lowering.interface import KINDS, Interface, interface_of
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.graph_file import OPERATORS
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Kind, TensorSpec
from vidtok_edge.runtime.manifest.metadata import GraphMetadata

THREE_SLOTS = NarrowBundle(
    "vidtok_kl_causal_288_8chn_v1_1", StepOptions(16, 24, streams=3, chunk=2), ch=8
)
BUNDLES = [
    golden_bundle("vidtok_fsq_causal_488_32768_v1_1"),
    golden_bundle("vidtok_kl_causal_288_8chn", "conv3d"),
    golden_bundle("vidtok_fsq_noncausal_488_262144"),
    THREE_SLOTS,
]


@dataclass(frozen=True, slots=True)
class Written:
    """One graph of a bundle, as it lies on disk."""

    what: NarrowBundle
    bundle: Bundle
    spec: GraphSpec
    model: ModelProto
    """Without the weights, which lie beside it."""

    @property
    def path(self) -> Path:
        return self.bundle.path / self.spec.file

    @property
    def interface(self) -> Interface:
        return interface_of(self.what.model.variant, self.what.options, self.spec.kind)


@pytest.fixture(params=on_one_worker(BUNDLES))
def written(request: pytest.FixtureRequest, exports: Exports) -> list[Written]:
    """The encoder and the decoder of a bundle."""
    what: NarrowBundle = request.param
    bundle = exports(what)
    return [
        Written(
            what, bundle, spec, onnx.load_model(bundle.path / spec.file, load_external_data=False)
        )
        for spec in bundle.manifest.graphs
    ]


def test_the_file_is_valid_and_has_one_opset(written: list[Written]) -> None:
    for graph in written:
        onnx.checker.check_model(str(graph.path), full_check=True)
        assert [(o.domain, o.version) for o in graph.model.opset_import] == [("", 20)]
        assert graph.model.ir_version == 10, "ONNX Runtime 1.19 reads no newer one"
        assert not graph.model.functions


def test_there_is_no_control_flow_and_no_odd_operator(written: list[Written]) -> None:
    for graph in written:
        operators = {node.op_type for node in graph.model.graph.node}
        assert not operators & {"If", "Loop", "Scan", "SequenceMap"}
        assert operators <= OPERATORS
        attributes = [a for node in graph.model.graph.node for a in node.attribute]
        assert not [a.name for a in attributes if a.HasField("g") or a.graphs]


@pytest.mark.xdist_group("embedded")
@pytest.mark.parametrize(("kind", "most"), [("encoder", 5), ("decoder", 10)])
def test_onnx_runtime_merges_the_transposes_of_channels_last(
    kind: Kind, most: int, embedded: Bundle, tmp_path: Path
) -> None:
    spec = embedded.manifest.graph(kind)
    assert spec.form == "channels_last"
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that the file is for this processor
    InferenceSession(embedded.path / spec.file, options, providers=["CPUExecutionProvider"])
    path = tmp_path / "optimized.onnx"
    operators = Counter(n.op_type for n in onnx.load(path, load_external_data=False).graph.node)
    if "ReorderOutput" not in operators:
        pytest.skip("ONNX Runtime does not reorder channels for this processor")
    norms = operators["LayerNormalization"] + operators["LpNormalization"]
    assert operators["Transpose"] <= most < norms


@pytest.mark.xdist_group("embedded")
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_makes_new_caches_at_once(
    kind: Kind, embedded: Bundle, tmp_path: Path
) -> None:
    """It holds what they are cut from until then."""
    spec = embedded.manifest.graph(kind)
    nodes = onnx.load_model(embedded.path / spec.file, load_external_data=False).graph.node
    makers = {name: node for node in nodes for name in node.output}
    read = {name for node in nodes for name in node.input}
    options = SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    path = embedded.path / spec.file
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in spec.inputs})
    events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    runs = [event for event in events if event["name"].endswith("_kernel_time")]
    runs.sort(key=lambda event: event["ts"])
    order = [event["name"].removesuffix("_kernel_time") for event in runs]
    cuts = [makers[new.name] for _, new in spec.caches if new.name not in read]
    assert len(cuts) >= len(spec.caches) - 1
    for cut in cuts:
        begin, end = order.index(makers[cut.input[0]].name), order.index(cut.name)
        between = [event["args"]["op_name"] for event in runs[begin:end]]
        assert begin < end and "Conv" not in between, cut.name


def test_every_input_is_used_and_every_output_made(written: list[Written]) -> None:
    for graph in written:
        nodes = graph.model.graph.node
        used = {name for node in nodes for name in node.input}
        made = {name for node in nodes for name in node.output}
        assert {value.name for value in graph.model.graph.input} <= used
        assert {value.name for value in graph.model.graph.output} <= made


def tensors_of(values: list[onnx.ValueInfoProto]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [
        (
            value.name,
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
            tuple(d.dim_value for d in value.type.tensor_type.shape.dim),
        )
        for value in values
    ]


def test_the_interface_is_the_one_that_was_said(written: list[Written]) -> None:
    for graph in written:
        said = graph.interface
        assert (said.inputs, said.outputs) == (graph.spec.inputs, graph.spec.outputs)
        for specs, values in (
            (said.inputs, graph.model.graph.input),
            (said.outputs, graph.model.graph.output),
        ):
            assert [(s.name, s.dtype, s.shape) for s in specs] == tensors_of(list(values))


def test_caches_have_the_slot_first_and_sort_the_same(written: list[Written]) -> None:
    for graph in written:
        old = {
            t[0]: t for t in tensors_of(list(graph.model.graph.input)) if t[0].startswith("cache_")
        }
        outputs = tensors_of(list(graph.model.graph.output))
        new = {t[0]: t for t in outputs if t[0].startswith("new_cache_")}
        assert bool(old) == graph.what.model.variant.causal
        for a, b in zip(sorted(old), sorted(new), strict=True):
            assert b == "new_" + a
            assert old[a][1:] == new[b][1:]
            assert old[a][2][0] == graph.what.options.streams


def test_every_shape_is_static(written: list[Written]) -> None:
    for graph in written:
        inferred = onnx.shape_inference.infer_shapes(
            onnx.load_model(graph.path), check_type=True, strict_mode=True
        )
        values = [*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info]
        known = {value.name for value in values}
        assert {name for node in inferred.graph.node for name in node.output} <= known
        for value in values:
            shape = value.type.tensor_type.shape
            assert all(d.HasField("dim_value") and d.dim_value > 0 for d in shape.dim), value.name


def test_the_file_says_nothing_about_this_machine(written: list[Written]) -> None:
    places = [str(Path(__file__).parents[2]), str(Path(torch.__file__).parent), str(Path.home())]
    for graph in written:
        content = graph.path.read_bytes()
        for place in [*places, str(graph.bundle.path), "site-packages", "Traceback", "stack_trace"]:
            assert place.encode() not in content, place
        assert not re.search(rb"\w\.py\b", content)
        assert not any(node.doc_string or node.metadata_props for node in graph.model.graph.node)


def test_the_file_says_what_it_is(written: list[Written]) -> None:
    for graph in written:
        said = GraphMetadata.of(graph.bundle.manifest, graph.spec)
        props = {p.key: p.value for p in graph.model.metadata_props}
        assert GraphMetadata.from_map(props) == said
        session = InferenceSession(graph.path, providers=["CPUExecutionProvider"])
        assert GraphMetadata.from_map(session.get_modelmeta().custom_metadata_map) == said


def test_weights_are_float32_and_lie_beside(written: list[Written]) -> None:
    for graph in written:
        beside = graph.path.with_name(graph.spec.data_file)
        outside = [
            t for t in graph.model.graph.initializer if t.data_location == TensorProto.EXTERNAL
        ]
        assert outside
        for tensor in outside:
            assert {e.value for e in tensor.external_data if e.key == "location"} == {beside.name}
        lengths = [int(e.value) for t in outside for e in t.external_data if e.key == "length"]
        assert sum(lengths) <= beside.stat().st_size
        types = {t.data_type for t in graph.model.graph.initializer}
        assert types <= {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
        large = [t for t in graph.model.graph.initializer if torch.Size(t.dims).numel() > 64]
        assert {t.data_type for t in large} == {TensorProto.FLOAT}


def test_nodes_are_named_after_layers(written: list[Written]) -> None:
    encoder, decoder = ([node.name for node in graph.model.graph.node] for graph in written)
    assert {"encoder.conv_in", "encoder.down.0.block.0.conv1", "encoder.conv_out"} <= set(encoder)
    assert {"decoder.mid.block_1.conv1", "decoder.up.0.block.1.conv2"} <= set(decoder)
    for names in (encoder, decoder):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("what", on_one_worker([THREE_SLOTS]))
def test_three_slots_in_calls_of_two_latents_keep_the_promise(
    what: NarrowBundle, exports: Exports
) -> None:
    report = verify_bundle(exports(what), what.model, chunk_plans=False)
    assert report, report.table()
    assert any(c.name == "slot 1 reset, slot 0 goes on" for c in report.comparisons)


@pytest.mark.parametrize("frozen", [0, 5])
def test_old_objects_are_left_alone_while_a_graph_is_made(
    frozen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the program itself froze stay frozen."""
    calls = list[str]()
    monkeypatch.setattr(gc, "get_freeze_count", lambda: frozen)
    for name in ("collect", "freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, partial(calls.append, name))
    with pytest.raises(KeyError), without_old_objects():
        calls.append("made")
        raise KeyError
    assert calls == (["made"] if frozen else ["collect", "freeze", "made", "unfreeze"])


def test_weights_that_all_lie_in_the_graph_leave_an_empty_file(tmp_path: Path) -> None:
    """A bundle names two files of each graph, also where a model has no weight of 1024 bytes."""
    path, one = tmp_path / "small.onnx", (1, 3)
    interface = Interface(
        inputs=(TensorSpec("x", "float32", one),), outputs=(TensorSpec("y", "float32", one),)
    )
    write_unchecked_graph(torch.nn.Linear(3, 3), interface, path)
    assert path.with_name("small.onnx.data").read_bytes() == b""
    (y,) = InferenceSession(str(path)).run(None, {"x": np.zeros(one, np.float32)})
    assert y.shape == one
