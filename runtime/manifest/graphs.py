"""A step graph from outside: its tensors, how it was made, and the files it lies in."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np

from vidtok_edge.runtime.manifest.names import Name
from vidtok_edge.runtime.manifest.plain import ADDED_LATER

__all__ = [
    "CACHE_PREFIX",
    "CALL_BEFORE",
    "KINDS",
    "NEW_CACHE_PREFIX",
    "OPSET",
    "DType",
    "FormName",
    "GraphSpec",
    "Kind",
    "Placement",
    "Precision",
    "TensorSpec",
    "graph_name",
    "stream_outputs",
]

CACHE_PREFIX = "cache_"
NEW_CACHE_PREFIX = "new_cache_"
CALL_BEFORE = "call_before"
"""In place of a layer's name: a flag about the call before, which is no layer's past."""
OPSET = 20
"""The one opset that TensorRT 10.3 parses and ONNX Runtime's quantiser handles."""

DType = Literal["float32", "float16", "uint8", "int8", "int32", "bool"]
Precision = Literal["fp32", "fp16", "int8"]
FormName = Literal["conv2d", "conv3d", "channels_last"]
Kind = Literal["encoder", "decoder"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder")


class Placement(Name):
    """Which backends an INT8 graph's Q/DQ nodes are placed for; they disagree on what is fast."""

    ANY = "any"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph; shapes are static."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of one such tensor."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"


def graph_name(kind: str, precision: str, placement: str) -> str:
    """`encoder.fp32`, `decoder.int8-tensorrt`; ONNX Runtime's INT8 is plain `int8`."""
    return f"{kind}.{precision}" + ("-tensorrt" if placement == Placement.TENSORRT else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec:
    """One step graph: its interface, how it was made, and the files it lies in."""

    kind: Kind
    precision: Precision
    placement: Placement
    form: FormName
    opset: int
    file: str
    sha256: str
    data_file: str
    """The weights beside the graph, as ONNX external data."""
    data_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    int8_layers: tuple[str, ...] = ()
    """The convolutions that run in INT8."""
    work_int8_permille: int = 0
    """Share of the multiply-adds of all convolutions that they do, in thousandths."""
    cache_layers: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    """Whose past each cache is, in the order of `caches`: layers, or `CALL_BEFORE`. Empty where
    the bundle was exported before this was written down."""

    @property
    def name(self) -> str:
        """As its file is called, without `.onnx`."""
        return graph_name(self.kind, self.precision, self.placement)

    def serves(self, placement: Placement) -> bool:
        """Whether backends of `placement` run it: of `channels_last` no engine is built."""
        if placement == Placement.TENSORRT and self.form == "channels_last":
            return False
        return self.placement in (Placement.ANY, placement)

    @property
    def caches(self) -> tuple[tuple[TensorSpec, TensorSpec], ...]:
        """Each cache as it goes in and as it comes out."""
        out = {spec.name: spec for spec in self.outputs}
        return tuple(
            (spec, out[NEW_CACHE_PREFIX + spec.name.removeprefix(CACHE_PREFIX)])
            for spec in self.inputs
            if spec.name.startswith(CACHE_PREFIX)
        )

    @property
    def cache_bytes(self) -> int:
        """Bytes of one set of caches, all slots; a running step holds two sets at most."""
        return sum(spec.nbytes for spec, _ in self.caches)

    @property
    def host_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the host fills: everything but the caches."""
        return tuple(spec for spec in self.inputs if not spec.name.startswith(CACHE_PREFIX))

    @property
    def host_outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that the host can read: everything but the caches."""
        return tuple(spec for spec in self.outputs if not spec.name.startswith(NEW_CACHE_PREFIX))

    @property
    def stream_outputs(self) -> tuple[TensorSpec, ...]:
        """Those that streams read."""
        return stream_outputs(self.host_outputs)


def stream_outputs(outputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Those that streams read: not `latent`, which is there to compare with the reference."""
    return tuple(spec for spec in outputs if spec.name != "latent")
