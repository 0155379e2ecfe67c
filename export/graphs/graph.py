"""A step module as an ONNX file: exported, cleaned, named, checked."""

from __future__ import annotations

import ast
import gc
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir
import torch
from onnx import ModelProto, NodeProto, TensorProto
from torch import nn

from vidtok_edge.export.graphs.graph_rules import IR_VERSION, check_graph, check_sums
from vidtok_edge.export.graphs.simplify import simplify
from vidtok_edge.lowering.affine import ONNX_TRANSLATIONS
from vidtok_edge.lowering.interface import Interface, zeros
from vidtok_edge.lowering.norms import NORM_TRANSLATIONS
from vidtok_edge.lowering.numerics import FP32, Numerics
from vidtok_edge.lowering.quantizer import QUANTIZER_TRANSLATIONS
from vidtok_edge.runtime.manifest.graphs import NEW_CACHE_PREFIX, OPSET

__all__ = ["without_old_objects", "write_graph", "write_unchecked_graph"]


def write_graph(
    step: nn.Module,
    interface: Interface,
    path: Path,
    metadata: Mapping[str, str],
    numerics: Numerics = FP32,
) -> None:
    """Export `step` to `path`, its weights to `path` + `.data`, and check both.

    Args:
        step: forward takes and returns the tensors of `interface`, in order.
        interface: names, types and shapes; every shape is static.
        path: `<name>.onnx`.
        metadata: of `GraphMetadata`, so that the graph alone can be understood.
        numerics: what `step` computes in.

    Raises:
        GraphRuleBroken: the exporter made something that a step graph must not be.
    """
    with without_old_objects():
        _write(step, interface, path, metadata, numerics)


def write_unchecked_graph(step: nn.Module, interface: Interface, path: Path) -> ModelProto:
    """As `write_graph`, held to no rule of a step graph and without metadata: for experiments.

    Returns:
        The graph; its weights lie in the file.
    """
    with without_old_objects():
        model = _model_of(step, interface, {})
        _save(model, path)
    return model


def _write(
    step: nn.Module,
    interface: Interface,
    path: Path,
    metadata: Mapping[str, str],
    numerics: Numerics,
) -> None:
    model = _model_of(step, interface, metadata)
    check_graph(model, interface, numerics)
    _save(model, path)
    check_sums(path, numerics)


def _model_of(step: nn.Module, interface: Interface, metadata: Mapping[str, str]) -> ModelProto:
    model = _export(step, interface)
    _part_weight_zeros(model)
    _put_caches_last(model)
    _clean(model)
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
    return model


def _save(model: ModelProto, path: Path) -> None:
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        location=path.name + ".data",
        size_threshold=1024,
    )
    # Where every weight is small enough to lie in the graph, a bundle has the file all the same.
    path.with_name(path.name + ".data").touch()
    onnx.checker.check_model(str(path), full_check=True)


@contextmanager
def without_old_objects() -> Iterator[None]:
    """Let the garbage collector look at what is made here alone.

    PyTorch's own objects are hundreds of thousands and live on: looking at them again and again
    took a fifth of an export (20.4 s of CPU to 16.5). A program that froze its objects itself keeps
    them so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _export(step: nn.Module, interface: Interface) -> ModelProto:
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            step.eval(),
            zeros(interface.inputs),
            dynamo=True,
            custom_translation_table=ONNX_TRANSLATIONS | NORM_TRANSLATIONS | QUANTIZER_TRANSLATIONS,
            opset_version=OPSET,  # the exporter may silently keep another: check_graph asserts it
            optimize=False,
            verbose=False,
        )
        assert program is not None
        model = simplify(program.model)
    for specs, values in (
        (interface.inputs, model.graph.inputs),
        (interface.outputs, model.graph.outputs),
    ):
        for spec, value in zip(specs, values, strict=True):
            value.name = spec.name
    return onnx_ir.to_proto(model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk about torchvision and its own deprecations from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _part_weight_zeros(model: ModelProto) -> None:
    """Give each INT8 weight a zero point of its own; the exporter lets equal ones be one.

    ONNX Runtime rewrites weights and zero points as unsigned where it is asked not to saturate, as
    runtimes before `pair_sums` do, and fails at one that it has rewritten already.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    taken: set[str] = set()
    for node in model.graph.node:
        weight = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weight is None or weight.data_type != TensorProto.INT8:
            continue
        zero = node.input[2]
        if zero in taken:
            own = model.graph.initializer.add()
            own.CopyFrom(constants[zero])
            own.name = node.input[2] = f"{weight.name}.zero"
        taken.add(zero)


def _put_caches_last(model: ModelProto) -> None:
    """Move the nodes that make nothing but a new cache to the end, the last of them first.

    ONNX Runtime runs a graph backwards from its last output node, each after what it needs. Caches
    would come after the result, and what they are cut from would be held until then: of the
    embedded decoder at 256x256 221 MB are alive at once in that order, 75 MB in this one.
    """
    read = {name for node in model.graph.node for name in node.input}
    caches, others = list[NodeProto](), list[NodeProto]()
    for node in model.graph.node:
        makes_caches = all(name.startswith(NEW_CACHE_PREFIX) for name in node.output)
        (caches if makes_caches and read.isdisjoint(node.output) else others).append(node)
    del model.graph.node[:]
    model.graph.node.extend([*others, *reversed(caches)])


def _clean(model: ModelProto) -> None:
    """Name every node after its layer, and strip source paths and stack traces."""
    seen: Counter[str] = Counter()
    for node in model.graph.node:
        base = _layer_name(node)
        seen[base] += 1
        node.name = base if seen[base] == 1 else f"{base}.{seen[base] - 1}"
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
        value.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.ir_version = IR_VERSION
    model.graph.name = "step"
    model.graph.doc_string = model.doc_string = ""
    model.producer_name, model.producer_version = "vidtok-edge", ""


def _layer_name(node: NodeProto) -> str:
    """`encoder.down.0.block.0.conv1` for a convolution or a norm, else `<layer>/<operator>`."""
    scopes = next(
        (p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]"
    )
    layers: list[str] = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]
    layer = re.sub(r"\.conv(\.kernels.*)?$", "", layers[-1]) if layers else "step"
    return layer if node.op_type in ("Conv", "LayerNormalization") else f"{layer}/{node.op_type}"
