"""In which precision the work of an engine runs, and the check that it is what was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

from vidtok_edge.errors import CheckFailed
from vidtok_edge.runtime.backends.engines.api import (
    IConvolutionLayer,
    ILayer,
    IMatrixMultiplyLayer,
    INetworkDefinition,
    TensorRT,
)
from vidtok_edge.runtime.backends.engines.sidecar import PrecisionProof, PrecisionShare
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = [
    "ComputeLayer",
    "check_proof",
    "compute_layers",
    "proof_from_inspector",
    "proof_from_network",
]

Name = Literal["fp32", "fp16", "int8", "other", "unknown"]

_OF_TYPE: Mapping[str, Name] = {"FLOAT": "fp32", "HALF": "fp16", "INT8": "int8"}


@dataclass(frozen=True, slots=True)
class ComputeLayer:
    """A convolution or matrix product of a network: its name, its work, its precision."""

    name: str
    multiply_adds: int
    precision: Name


def compute_layers(library: TensorRT, network: INetworkDefinition) -> list[ComputeLayer]:
    """Every convolution and matrix product, as the strongly typed network has it.

    One whose inputs, weights too, come straight from DequantizeLinear runs in INT8; any other in
    the type of its output.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    made_by = {
        tensor.name: layer.type.name
        for layer in layers
        for index in range(layer.num_outputs)
        if (tensor := layer.get_output(index)) is not None
    }
    found = []
    for layer in layers:
        work = _multiply_adds(library, layer)
        if work is not None:
            sources = [made_by.get(tensor.name) for tensor in _inputs(layer)[:2]]
            quantised = len(sources) == 2 and set(sources) == {"DEQUANTIZE"}
            precision: Name = "int8" if quantised else _output_precision(layer)
            found.append(ComputeLayer(layer.name, work, precision))
    return found


def proof_from_network(
    layers: list[ComputeLayer], float32_sums: Collection[str] = ()
) -> PrecisionProof:
    """What the network demands; TensorRT must obey a strongly typed one.

    Args:
        layers: of the network as it was parsed.
        float32_sums: names of those that were then told to sum in float32.
    """
    shares = _shares((layer, layer.precision) for layer in layers)
    return PrecisionProof(source="network", shares=shares, float32_sums=len(float32_sums))


def proof_from_inspector(
    layers: list[ComputeLayer], information: str, float32_sums: Collection[str] = ()
) -> PrecisionProof:
    """What the engine inspector's JSON says of the engine's layers.

    TensorRT fuses layers and joins their names. A layer of the network that no layer of the engine
    names, or that is part of one that the inspector does not look into, is `unknown`. One that was
    told to sum in float32 reads values of FP16 in float32, and counts as FP16.

    Args:
        layers: of the network as it was parsed.
        information: the inspector's JSON.
        float32_sums: as for `proof_from_network`.
    """
    try:
        entries = json.loads(information).get("Layers", [])
    except (ValueError, AttributeError):
        entries = []
    engine = [entry for entry in entries if isinstance(entry, dict)]
    found = {name: _inspected_precision(entry) for entry in engine for name in _onnx_names(entry)}
    found |= {name: "fp16" for name in float32_sums if found.get(name) == "fp32"}
    half = {name for entry in engine if _sums_in_fp16(entry) for name in _onnx_names(entry)}
    return PrecisionProof(
        source="engine inspector",
        shares=_shares((layer, found.get(layer.name, "unknown")) for layer in layers),
        fp16_sums=sum(1 for layer in layers if layer.name in half),
        float32_sums=len(float32_sums),
    )


def check_proof(graph: GraphSpec, proof: PrecisionProof, layers: list[ComputeLayer]) -> None:
    """Raise CheckFailed where an engine asked for in fp16 or INT8 does not run in it.

    INT8: every convolution that the manifest lists is INT8 in the network, and at least one in the
    engine, as far as the inspector knows. fp16: no more than half of the work is fp32.
    """
    if graph.precision == "fp32" or not layers:
        return
    if graph.precision == "int8":
        _check_int8(graph, proof, layers)
    elif proof.work_permille("fp32") > 500:
        raise CheckFailed(
            f"{graph.name} was to be fp16, and the engine is not kept: {proof}. "
            "Export the bundle again with --precision fp16."
        )


def _check_int8(graph: GraphSpec, proof: PrecisionProof, layers: list[ComputeLayer]) -> None:
    int8 = {layer.name for layer in layers if layer.precision == "int8"}
    missing = [name for name in graph.int8_layers if name not in int8]
    if missing or not (int8 and proof.layers("int8", "unknown")):
        shown = f", for one {missing[0]}" if missing else ""
        raise CheckFailed(
            f"{graph.name} was to run {len(graph.int8_layers)} convolutions in INT8, "
            f"{len(missing)} of them do not{shown}, and the engine is not kept: {proof}. "
            "Export the bundle again with --precision int8."
        )


# --- the network ------------------------------------------------------------------------------


def _multiply_adds(library: TensorRT, layer: ILayer) -> int | None:
    """Of a convolution or matrix product; None of anything else."""
    kind = layer.type.name
    if kind in ("CONVOLUTION", "DECONVOLUTION"):
        made = library.IConvolutionLayer if kind == "CONVOLUTION" else library.IDeconvolutionLayer
        return _convolution_work(_cast(layer, made), transposed=kind == "DECONVOLUTION")
    if kind == "MATRIX_MULTIPLY":
        return _product_work(_cast(layer, library.IMatrixMultiplyLayer))
    return None


def _convolution_work(layer: IConvolutionLayer, *, transposed: bool) -> int:
    source, result = layer.get_input(0), layer.get_output(0)
    assert source is not None and result is not None
    taps = prod(layer.kernel_size_nd)
    if transposed:
        return prod(source.shape) * taps * layer.num_output_maps // layer.num_groups
    return prod(result.shape) * taps * source.shape[1] // layer.num_groups


def _product_work(layer: IMatrixMultiplyLayer) -> int:
    left, result = layer.get_input(0), layer.get_output(0)
    assert left is not None and result is not None
    inner = left.shape[-2] if layer.op0.name == "TRANSPOSE" else left.shape[-1]
    return prod(result.shape) * inner


def _cast(layer: ILayer, kind: Any) -> Any:
    """TensorRT hands out every layer as an ILayer; its own samples cast in this way."""
    layer.__class__ = kind
    return layer


def _inputs(layer: ILayer) -> list[Any]:
    found = [layer.get_input(index) for index in range(layer.num_inputs)]
    return [tensor for tensor in found if tensor is not None]


def _output_precision(layer: ILayer) -> Name:
    tensor = layer.get_output(0)
    return _OF_TYPE.get(tensor.dtype.name, "other") if tensor is not None else "unknown"


def _shares(pairs: Iterator[tuple[ComputeLayer, Name]]) -> tuple[PrecisionShare, ...]:
    found = list(pairs)
    return tuple(
        PrecisionShare(
            precision,
            sum(1 for _, p in found if p == precision),
            sum(layer.multiply_adds for layer, p in found if p == precision),
        )
        for precision in get_args(Name)
        if any(p == precision for _, p in found)
    )


# --- the inspector ----------------------------------------------------------------------------


def _onnx_names(entry: dict[str, Any]) -> list[str]:
    """The ONNX nodes that an engine layer was made of: `[ONNX Layer: a]\\x1e[ONNX Layer: b]`."""
    names = re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(entry.get("Metadata", "")))
    return names or [part.strip() for part in str(entry.get("Name", "")).split(" + ")]


def _inspected_precision(entry: dict[str, Any]) -> Name:
    """Of the data that the layer's kernel reads first: a quantised convolution reads INT8."""
    if "ForeignNode" in str(entry.get("Name", "")):
        return "unknown"  # a compiled region: the inspector shows its edges only
    sides = entry.get("Inputs") or entry.get("Outputs") or [{}]
    text = str(sides[0].get("Format/Datatype", "")) if isinstance(sides[0], dict) else ""
    for pattern, name in (("int8", "int8"), ("fp16|half", "fp16"), ("fp32|float", "fp32")):
        if re.search(pattern, text, re.IGNORECASE):
            return name  # type: ignore[return-value]
    return "unknown"


def _sums_in_fp16(entry: dict[str, Any]) -> bool:
    """Whether the name of the layer's kernel says that it sums in FP16.

    The names are NVIDIA's: `f16f16_f16f16_f16`, inputs, then sum and output, then what follows; one
    that sums in float32 has `f16f16_f16f32_f32`. A strongly typed network cannot ask for either.
    """
    return "_f16f16_f16f16_f16_" in str(entry.get("TacticName", ""))
