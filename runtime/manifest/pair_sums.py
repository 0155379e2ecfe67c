"""Whether INT8 sums of a graph can saturate on a processor without VNNI.

There ONNX Runtime's fast kernel multiplies bytes of an activation, 0..255, with INT8 weights, adds
two neighbouring products in 16 bits, and stops at the ends of those (MLAS, `vpmaddubsw`).
Neighbours are 0 and 1, 2 and 3, ... on the flattened (kh, kw, I) axis of a kernel [O, I, kh, kw].
No such sum leaves its 16 bits where, of each pair, the weights of one sign add up to `MOST` at
most.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.bounded import Budget, TooMuchWork
from vidtok_edge.runtime.manifest.graph_nodes import GraphNode, read_graph
from vidtok_edge.runtime.manifest.protobuf import contents, integers, text_at

__all__ = ["MOST", "can_saturate", "saturating_layers"]

MOST = 128
"""255 * 128 = 32640, and 16 bits end at 32767."""

_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_RAW, _TENSOR_EXTERNAL = 1, 2, 9, 13
_KEY, _VALUE = 1, 2  # of an entry of external data
_UINT8, _INT8, _INT32 = 2, 3, 6
_NOT_INT8 = ([_UINT8], [_INT32])  # activations, or weights that are multiplied exactly; biases
_LARGEST = 64 << 20  # bytes of a kernel; full width has 5 MB


def can_saturate(weight: NDArray[np.int8]) -> bool:
    """Whether a kernel [O, I, ...] has a pair that can saturate; one of fewer axes is not judged.

    Raises ValueError: it has one axis or none.
    """
    if weight.ndim < 2:
        raise ValueError(f"a kernel has two axes or more, this one {weight.ndim}")
    flat = np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
    even = flat[:, : flat.shape[1] // 2 * 2].astype(np.int16)  # of an odd number the last is alone
    first, second = even[:, ::2], even[:, 1::2]
    positive = np.maximum(first, 0) + np.maximum(second, 0)
    negative = np.minimum(first, 0) + np.minimum(second, 0)
    return bool((positive > MOST).any() or (negative < -MOST).any())


def saturating_layers(path: Path) -> tuple[str, ...]:
    """The operators of the ONNX file at `path` whose INT8 sums are not shown to be exact.

    Each is judged by its integers, in the file or beside it; one whose weights cannot be read or
    judged is among them. Weights in floating point are not: they stay so.

    Raises:
        ValueError: it is no ONNX file.
        OSError: it cannot be read.
    """
    return _Graph(path).saturating_layers()


class _Graph:
    """The nodes and constants of a file, and who reads what."""

    def __init__(self, path: Path) -> None:
        self._data = path.with_name(f"{path.name}.data")
        beside = self._data.stat().st_size if self._data.is_file() else 0
        self._nodes, self._constants = read_graph(path)
        # Kernels are shared.
        self._budget = Budget(path.stat().st_size + beside, per_byte=4, at_least=0)
        self._readers: dict[str, list[tuple[GraphNode, int]]] = {}
        for node in self._nodes:
            for place, name in enumerate(node.inputs):
                self._readers.setdefault(name, []).append((node, place))

    def saturating_layers(self) -> tuple[str, ...]:
        safe = {
            name: self._is_safe("".join(node.inputs[:1]))
            for node in self._nodes
            if node.operator == "DequantizeLinear" and not self._is_other(node)
            for name in node.outputs
        }
        found = {
            reader.name: None
            for name, is_safe in safe.items()
            for reader, place in self._readers.get(name, [])
            if not (is_safe and reader.operator == "Conv" and place == 1)
        }
        return tuple(found)

    def _is_other(self, dequantize: GraphNode) -> bool:
        """Whether the values are of another type than INT8: that of their zero point."""
        zero = self._constants.get("".join(dequantize.inputs[2:3]))
        return zero is not None and integers(zero, _TENSOR_TYPE) in _NOT_INT8

    def _is_safe(self, name: str) -> bool:
        """Whether the constant `name` is a kernel none of whose pairs can saturate."""
        tensor = self._constants.get(name)
        try:
            return tensor is not None and not can_saturate(self._weight(tensor))
        except (ValueError, OSError, TooMuchWork):
            return False  # what runs the graph has to say what is wrong with it

    def _weight(self, tensor: bytes) -> NDArray[np.int8]:
        """The values of a constant. Raises ValueError, OSError, TooMuchWork: they are not here."""
        shape = integers(tensor, _TENSOR_DIMS)
        size = prod(shape)
        if integers(tensor, _TENSOR_TYPE) != [_INT8] or not 0 < size <= _LARGEST:
            raise ValueError("is no INT8 kernel")
        self._budget.spend(size)
        raw = next(contents(tensor, _TENSOR_RAW), b"") or self._beside(tensor, size)
        return np.frombuffer(raw, np.int8).reshape(shape)

    def _beside(self, tensor: bytes, size: int) -> bytes:
        """The `size` bytes of a constant in the file of weights."""
        entries = {text_at(e, _KEY): text_at(e, _VALUE) for e in contents(tensor, _TENSOR_EXTERNAL)}
        if entries.get("location") != self._data.name:
            raise ValueError("has weights elsewhere")
        with self._data.open("rb") as file:
            offset = int(entries.get("offset", "0"))
            if not 0 <= offset <= os.fstat(file.fileno()).st_size - size:
                raise ValueError("has weights past the end of their file")
            file.seek(offset)
            return file.read(size)
