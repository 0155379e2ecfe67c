"""FP16 convolutions whose products are summed in float32.

TensorRT sums them in FP16 where that is faster, and a strongly typed network cannot forbid it: on
an H200 that cost an encoder one token in seventy (docs/measured/2026-11-28-h200-conv3d). A network
can say it in types, though: the values, still those of FP16, are cast to float32 before a
convolution and its result is cast back. With TF32 allowed tensor cores take such a convolution:
they keep 11 bits of each factor, which is all that FP16 has, so products are exact and sums are
float32. Unverified on hardware.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import EngineRefused
from vidtok_edge.runtime.backends.engines.api import (
    Enumerator,
    IConvolutionLayer,
    ILayer,
    INetworkDefinition,
    ITensor,
    TensorRT,
)
from vidtok_edge.runtime.backends.engines.building.precision_proof import ComputeLayer

__all__ = ["Float32Sums", "sum_in_float32"]


@dataclass(frozen=True, slots=True)
class Float32Sums:
    """What was rewritten in a network; it must live as long as the network does.

    Attributes:
        layers: names of the convolutions.
        weights: their kernels and biases in float32, which TensorRT reads when it builds.
    """

    layers: tuple[str, ...] = ()
    weights: tuple[NDArray[np.float32], ...] = ()


def sum_in_float32(
    library: TensorRT, network: INetworkDefinition, layers: Sequence[ComputeLayer]
) -> Float32Sums:
    """Let the FP16 convolutions of a parsed, strongly typed network sum in float32.

    Tensors keep their names and types, but for what is new: `<result>/float32` before its rounding.
    A convolution whose result is itself an output of the network stays as it is.

    Args:
        library: the TensorRT of the network.
        network: it is changed.
        layers: what computes in it, of `compute_layers`.

    Raises:
        EngineRefused: some of it computes in float32, and TF32 would round what that multiplies.
    """
    if whole := [one.name for one in layers if one.precision == "fp32"]:
        raise EngineRefused(
            f"{len(whole)} layer(s) compute in float32, for one {whole[0]}, and TF32, by which "
            "FP16 is summed in float32, would round them. Build it without --float32-sums."
        )
    half = {one.name for one in layers if one.precision == "fp16"}
    outputs = {network.get_output(index).name for index in range(network.num_outputs)}
    parsed = [network.get_layer(index) for index in range(network.num_layers)]
    readers = _readers(parsed)
    names, weights = list[str](), list[NDArray[np.float32]]()
    for layer in parsed:
        if layer.name not in half or layer.type.name != "CONVOLUTION":
            continue
        result = layer.get_output(0)
        if result is None or result.name in outputs:
            continue
        for index, source in _half_inputs(layer):
            layer.set_input(index, _cast(network, source, library.DataType.FLOAT, layer.name))
        weights += _widened(library, layer)
        name = result.name
        rounded = _cast(network, result, library.DataType.HALF, layer.name)
        for reader, index in readers[name]:
            reader.set_input(index, rounded)
        result.name, rounded.name = f"{name}/float32", name
        names.append(layer.name)
    return Float32Sums(tuple(names), tuple(weights))


def _readers(layers: Sequence[ILayer]) -> defaultdict[str, list[tuple[ILayer, int]]]:
    """Who reads a tensor, by its name, and as which input."""
    found = defaultdict[str, list[tuple[ILayer, int]]](list)
    for layer in layers:
        for index in range(layer.num_inputs):
            if (tensor := layer.get_input(index)) is not None:
                found[tensor.name].append((layer, index))
    return found


def _half_inputs(layer: ILayer) -> Iterator[tuple[int, ITensor]]:
    """The data and, where they are tensors, the kernel and the bias."""
    for index in range(layer.num_inputs):
        tensor = layer.get_input(index)
        if tensor is not None and tensor.dtype.name == "HALF":
            yield index, tensor


def _widened(library: TensorRT, layer: ILayer) -> Iterator[NDArray[np.float32]]:
    """Kernel and bias of a convolution in float32, where they are constants; they are set."""
    layer.__class__ = library.IConvolutionLayer  # TensorRT hands out every layer as an ILayer
    convolution: IConvolutionLayer = layer  # type: ignore[assignment]
    for attribute in ("kernel", "bias"):
        values = getattr(convolution, attribute)
        if values is not None and values.size:
            wide = np.ascontiguousarray(values, np.float32)
            setattr(convolution, attribute, library.Weights(wide))
            yield wide


def _cast(network: INetworkDefinition, tensor: ITensor, to: Enumerator, layer: str) -> ITensor:
    cast = network.add_cast(tensor, to)
    cast.name = f"{layer}/{to.name.lower()}/{tensor.name}"
    result = cast.get_output(0)
    assert result is not None
    return result
