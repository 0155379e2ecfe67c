"""What the integers of a cache stand for: read from its graph, without the onnx package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.manifest.graph_nodes import GraphNode, read_graph
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.manifest.protobuf import contents, integers

__all__ = ["EXACT", "PIXELS", "Grid", "cache_grids"]

_TENSOR_TYPE, _TENSOR_RAW = 2, 9
_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 10: np.float16}
"""By the numbers of TensorProto.DataType."""
_MOVES = ("Where", "Concat", "Slice", "Reshape", "Transpose", "Pad")
"""Operators whose results are values of what they read, as they were."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Real numbers as (q - zero) * scale."""

    scale: float
    zero: float

    def real(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """What `values` stand for."""
        return ((values.astype(np.float32) - self.zero) * self.scale).astype(np.float32)

    def stored(self, values: NDArray[Any], dtype: str) -> NDArray[Any]:
        """Real `values` as a tensor of `dtype` holds them."""
        kind = np.dtype(dtype)
        if kind.kind not in "iu":
            return ((values / self.scale) + self.zero).astype(kind)
        info = np.iinfo(kind)
        steps = np.round(values.astype(np.float64) / self.scale + self.zero)
        result: NDArray[Any] = np.clip(steps, info.min, info.max).astype(kind)
        return result


EXACT = Grid(1.0, 0.0)
"""Of what holds the real numbers themselves."""
PIXELS = Grid(1 / 127.5, 127.5)
"""Of the bytes of pixels, which stand for -1 to 1."""


def cache_grids(path: Path, graph: GraphSpec) -> Mapping[str, Grid | None]:
    """The grid of each cache of `graph`, whose file is `path`, by the name of its input.

    None where the integers go nowhere that says what they stand for. Bytes that no
    DequantizeLinear reads are pixels: the first convolution of an encoder keeps them so.

    Raises ValueError, OSError: it is no ONNX file, or cannot be read.
    """
    nodes, constants = read_graph(path)
    readers: dict[str, list[GraphNode]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return {spec.name: _grid(spec.name, spec.dtype, readers, constants) for spec, _ in graph.caches}


def _grid(
    cache: str, dtype: str, readers: Mapping[str, list[GraphNode]], constants: Mapping[str, bytes]
) -> Grid | None:
    if dtype not in ("uint8", "int8"):
        return EXACT
    ahead, seen = [cache], {cache}
    for name in ahead:  # which grows
        for node in readers.get(name, []):
            if node.operator == "DequantizeLinear" and node.inputs[0] == name:
                values = [_scalar(constants.get(constant)) for constant in node.inputs[1:3]]
                return Grid(*values) if None not in values else None  # type: ignore[arg-type]
            if node.operator in _MOVES:
                new = set(node.outputs) - seen
                seen |= new
                ahead += new
    return PIXELS if dtype == "uint8" else None


def _scalar(tensor: bytes | None) -> float | None:
    """The one number of a constant; None where it has several, or they lie elsewhere."""
    if tensor is None:
        return None
    kind = integers(tensor, _TENSOR_TYPE)
    raw = next(contents(tensor, _TENSOR_RAW), b"")
    if not kind or kind[0] not in _DTYPES:
        return None
    dtype = np.dtype(_DTYPES[kind[0]])
    return float(np.frombuffer(raw, dtype)[0]) if len(raw) == dtype.itemsize else None
