"""A bundle in every precision: types by policy, caches of a byte, losses within their limits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from int8_sums import save_beside
from onnx import ModelProto, TensorProto, helper, numpy_helper

from vidtok_edge.calib.int8 import int8_graphs
from vidtok_edge.calib.policy import DEFAULT_POLICY
from vidtok_edge.calib.ranges import Ranges
from vidtok_edge.export import Exported
from vidtok_edge.export.bundle_files import write_manifest
from vidtok_edge.export.graphs.dtype_rules import broken_dtype_rules
from vidtok_edge.export.graphs.graph_rules import GraphRuleBroken, check_sums
from vidtok_edge.export.verifying.loss import DEFAULT_LIMITS, Limits, limits_with
from vidtok_edge.export.verifying.precision_table import precision_rows
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.hashes import sha256_of
from vidtok_edge.lowering.affine import quantized_weight
from vidtok_edge.lowering.facts import options_of
from vidtok_edge.lowering.numerics import FP16, FP32, Numerics
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.manifest.pair_sums import saturating_layers
from vidtok_edge.vidtok_ref import VidTok, load_weights

pytestmark = pytest.mark.xdist_group("precisions")


@pytest.fixture(scope="module")
def model() -> VidTok:
    return load_weights("fsq", None)[0]


def loaded(bundle: Bundle, name: str) -> tuple[GraphSpec, ModelProto]:
    graph = next(g for g in bundle.manifest.graphs if g.name == name)
    return graph, onnx.load_model(bundle.path / graph.file, load_external_data=False)


def numerics_of(bundle: Bundle, graph: GraphSpec) -> Numerics:
    if graph.precision != "int8":
        return FP32 if graph.precision == "fp32" else FP16
    ranges = Ranges.load(bundle.path)
    assert ranges is not None
    pairs = int8_graphs(ranges, DEFAULT_POLICY)
    return next(p[graph.kind] for p in pairs if p[graph.kind].placement == graph.placement)


def test_every_precision_is_there_and_passes(precisions: Exported) -> None:
    names = [graph.name for graph in precisions.bundle.manifest.graphs]
    assert names == [
        f"{kind}.{precision}"
        for precision in ("fp32", "fp16", "int8", "int8-tensorrt")
        for kind in ("encoder", "decoder")
    ]
    assert precisions.report, precisions.report.table()
    assert precisions.bundle.verified
    forms = {graph.name: graph.form for graph in precisions.bundle.manifest.graphs}
    for kind in ("encoder", "decoder"):
        assert forms[f"{kind}.fp32"] == forms[f"{kind}.int8"] == "channels_last"
        assert forms[f"{kind}.fp16"] == forms[f"{kind}.int8-tensorrt"] == "conv2d"
    assert options_of(precisions.bundle.manifest).form == "channels_last"


def test_caches_of_int8_are_bytes(precisions: Exported) -> None:
    for graph in precisions.bundle.manifest.graphs:
        kinds = {spec.dtype for spec, _ in graph.caches}
        if graph.precision == "int8":
            integer = "int8" if graph.placement == "tensorrt" else "uint8"
            other = "float16" if graph.placement == "tensorrt" else "float32"
            assert integer in kinds and kinds <= {integer, "uint8", other}
            whole = precisions.bundle.manifest.graph(graph.kind, "fp32").cache_bytes
            assert graph.cache_bytes <= 0.33 * whole
            assert graph.work_int8_permille > 700
            assert not {"encoder.conv_in", "decoder.conv_out"} & set(graph.int8_layers)
        else:
            assert kinds == {"float16" if graph.precision == "fp16" else "float32"}
            assert graph.int8_layers == () and graph.work_int8_permille == 0


def test_what_the_host_sees_is_the_same_in_every_precision(precisions: Exported) -> None:
    graphs = precisions.bundle.manifest.graphs
    for kind in ("encoder", "decoder"):
        sides = [(g.host_inputs, g.host_outputs) for g in graphs if g.kind == kind]
        assert all(side == sides[0] for side in sides)


@pytest.mark.parametrize("name", ["encoder.fp16", "decoder.fp16", "encoder.fp32"])
def test_types_are_those_of_the_policy(precisions: Exported, name: str) -> None:
    _, model = loaded(precisions.bundle, name)
    right, wrong = (FP16, FP32) if "fp16" in name else (FP32, FP16)
    assert broken_dtype_rules(model, right) == []
    broken = broken_dtype_rules(model, wrong)
    assert any(" computes in " in sentence for sentence in broken)


def with_mixed_operands(model: ModelProto) -> None:
    """One input of an addition in float32."""
    node = next(n for n in model.graph.node if n.op_type == "Add" and n.name.startswith("decoder"))
    cast = helper.make_node("Cast", [node.input[0]], ["wide"], name="cast", to=TensorProto.FLOAT)
    node.input[0] = "wide"
    place = list(model.graph.node).index(node)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], cast, *nodes[place:]])


def with_a_zero_point(model: ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    zero = next(t for t in model.graph.initializer if t.name == node.input[2])
    zero.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), zero.name))


def with_integers_on_the_move(model: ModelProto) -> None:
    """An Identity between Q and DQ."""
    node = next(
        n
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0].startswith("cache")
    )
    moved = helper.make_node("Identity", [node.input[0]], ["moved"], name="moved")
    node.input[0] = "moved"
    model.graph.node.insert(0, moved)


def with_a_kernel_of_another_layer(model: ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Conv" and ".block." in n.name)
    node.name = "decoder.conv_in"


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (with_mixed_operands, "mixes float16 and float32"),
        (with_a_zero_point, "zero point that is not 0"),
        (with_integers_on_the_move, "handles INT8; TensorRT wants only Q and DQ"),
        (with_a_kernel_of_another_layer, "not those of the policy"),
    ],
)
def test_a_broken_graph_for_tensorrt_is_noticed(
    precisions: Exported, break_it: Callable[[ModelProto], None], sentence: str
) -> None:
    graph, model = loaded(precisions.bundle, "decoder.int8-tensorrt")
    numerics = numerics_of(precisions.bundle, graph)
    assert broken_dtype_rules(model, numerics) == []
    break_it(model)
    try:
        found = broken_dtype_rules(model, numerics)
    except onnx.shape_inference.InferenceError as error:  # ONNX itself refuses mixed operands
        found = [f"mixes float16 and float32: {error}"]
    assert any(sentence in one for one in found), found


def test_onnxruntime_makes_qlinearconv_of_every_int8_layer(
    precisions: Exported, tmp_path: Path
) -> None:
    import onnxruntime as ort

    for kind in ("encoder", "decoder"):
        graph = precisions.bundle.manifest.graph(kind, "int8")
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 4
        path = str(precisions.bundle.path / graph.file)
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load_model(tmp_path / "optimised.onnx", load_external_data=False).graph.node
        kernels = sum(n.op_type == "QLinearConv" for n in nodes)
        upsamplers = [name for name in graph.int8_layers if name.endswith(".upsample")]
        in_space = [name for name in upsamplers if ".up." in name]
        assert kernels == len(graph.int8_layers) + 3 * len(in_space)  # four phases each
        in_float = sum(n.op_type in ("Conv", "FusedConv") for n in nodes)
        assert in_float == {"encoder": 11, "decoder": 6}[kind]


def test_each_int8_weight_has_a_zero_point_of_its_own(precisions: Exported) -> None:
    """ONNX Runtime cannot make shared ones unsigned, which older runtimes ask it for."""
    for name in ("encoder.int8", "decoder.int8", "encoder.int8-tensorrt"):
        _, model = loaded(precisions.bundle, name)
        dtypes = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        zeros = [
            node.input[2]
            for node in model.graph.node
            if node.op_type == "DequantizeLinear"
            and dtypes.get(node.input[0]) == onnx.TensorProto.INT8
        ]
        assert len(zeros) > 10 and len(set(zeros)) == len(zeros)


def test_int8_sums_of_onnxruntime_are_exact_without_vnni(precisions: Exported) -> None:
    path = precisions.bundle.path
    for name in ("encoder.int8", "decoder.int8"):
        assert saturating_layers(path / f"{name}.onnx") == ()
    assert saturating_layers(path / "encoder.int8-tensorrt.onnx"), "its scales are plain"


def test_plain_scales_are_refused(precisions: Exported, tmp_path: Path) -> None:
    """As weights were scaled before: the largest of each output channel is 127."""
    graph, _ = loaded(precisions.bundle, "decoder.int8")
    numerics = numerics_of(precisions.bundle, graph)
    model, path = onnx.load_model(precisions.bundle.path / graph.file), tmp_path / "plain.onnx"
    save_beside(model, path)
    check_sums(path, numerics)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1:
            weight = torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
            plain, _ = quantized_weight(weight, torch.float32)
            tensor.CopyFrom(numpy_helper.from_array(plain.numpy(), tensor.name))
    save_beside(model, path)
    with pytest.raises(GraphRuleBroken, match=r"of \d\d INT8 .* saturate: decoder\.mid\.block_1"):
        check_sums(path, numerics)


@pytest.fixture
def copy(precisions: Exported, tmp_path: Path) -> Bundle:
    folder = shutil.copytree(precisions.bundle.path, tmp_path / "bundle")
    return Bundle.load(folder)


def only(bundle: Bundle, *names: str) -> Bundle:
    """The bundle with no other graphs in its manifest."""
    manifest = bundle.manifest
    graphs = tuple(g for g in manifest.graphs if g.name.partition(".")[2] in names)
    return write_manifest(bundle.path, replace(manifest, graphs=graphs))


def spoil_the_grids(bundle: Bundle, name: str, factor: float) -> None:
    """Make every activation's grid `factor` times as coarse, in the file."""
    graph, _ = loaded(bundle, name)
    path, data = bundle.path / graph.file, bundle.path / graph.data_file
    model = onnx.load_model(path)
    scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            value = numpy_helper.to_array(tensor)
            coarse = (value * factor).astype(value.dtype)
            tensor.CopyFrom(numpy_helper.from_array(coarse, tensor.name))
    data.unlink()
    onnx.save_model(model, str(path), save_as_external_data=True, location=data.name)
    changed = replace(graph, sha256=sha256_of(path), data_sha256=sha256_of(data))
    graphs = tuple(changed if g.name == name else g for g in bundle.manifest.graphs)
    write_manifest(bundle.path, replace(bundle.manifest, graphs=graphs))


def test_verification_fails_when_quality_is_lost(copy: Bundle, model: VidTok) -> None:
    bundle = only(copy, "fp32", "int8")
    assert verify_bundle(bundle, model, chunk_plans=False)
    spoil_the_grids(bundle, "decoder.int8", 12.0)
    report = verify_bundle(Bundle.load(bundle.path), model, chunk_plans=False)
    assert {c.name for c in report.failures} >= {"int8, robot", "int8, film"}
    assert any("lost against the source" in c.metric for c in report.failures)


def test_limits_can_be_set_and_fail(copy: Bundle, model: VidTok) -> None:
    bundle = only(copy, "fp32", "fp16")
    strict = {"fp16": replace(DEFAULT_LIMITS["fp16"], psnr_db=200.0)}
    report = verify_bundle(bundle, model, chunk_plans=False, limits=strict)  # type: ignore[arg-type]
    assert {c.metric for c in report.failures} == {"PSNR against fp32, dB"}


def test_int8_alone_is_compared_with_the_lowered_model(copy: Bundle, model: VidTok) -> None:
    bundle = only(copy, "int8")
    report = verify_bundle(bundle, model)
    assert report, report.table()
    assert {loss.graphs for loss in report.losses} == {"fp32", "int8"}


def test_limits_given_replace_the_default_ones() -> None:
    limits = limits_with(0.9, None, 0.1)
    assert limits["fp16"] == Limits(tokens_equal=0.9, psnr_db=40.0, loss_db=0.1)
    assert limits["int8"] == Limits(tokens_equal=0.9, loss_db=0.1)
    assert limits_with(None, None, None) == DEFAULT_LIMITS


def test_a_table_has_a_row_for_each_pair(precisions: Exported) -> None:
    rows = precision_rows(precisions.bundle, precisions.report)
    assert [row.graphs for row in rows] == ["fp32", "fp16", "int8", "int8-tensorrt"]
    fp32, fp16, int8, tensorrt = rows
    assert fp32.file_bytes > fp16.file_bytes > int8.file_bytes
    assert fp32.cache_bytes == 2 * fp16.cache_bytes > 3.2 * int8.cache_bytes
    assert int8.encode_ms and int8.decode_ms and tensorrt.encode_ms is None
    assert [loss.clip for loss in int8.losses] == ["robot", "film", "hard"]


def test_the_report_holds_the_losses(precisions: Exported) -> None:
    stored = json.loads((precisions.bundle.path / "reports/parity.json").read_text())
    graphs = [loss["graphs"] for loss in stored["losses"]]
    assert graphs == [g for g in ("fp32", "fp16", "int8", "int8-tensorrt") for _ in range(3)]
    assert stored["losses"][0]["psnr_db"] == "inf"
    tokens = next(loss for loss in stored["losses"] if loss["graphs"] == "int8")
    assert 0.5 < tokens["tokens_equal"] < 1 and sum(tokens["flips"]) > 0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_runtime_streams_any_precision(precisions: Exported, precision: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), np.uint8)
    bundle = precisions.bundle
    with (
        bundle.encoder(precision=precision) as encoder,
        bundle.decoder(precision=precision) as decoder,
    ):
        latents = [part for frame in frames for part in encoder.push(frame)] + encoder.finish()
        pictures = [p for part in latents for p in decoder.push(part)] + decoder.finish()
    assert [p.frame for p in pictures] == list(range(6))
    assert pictures[0].pixels.dtype == np.uint8
