"""`manifest.json`: what a bundle is, so that nobody has to open a graph to know (design, "The bundle")."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import prod
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from vidtok_edge.errors import BundleError, BundlePathEscapes, BundleSchemaUnknown
from vidtok_edge.runtime.plain import from_plain

__all__ = [
    "CACHE_PREFIX",
    "NEW_CACHE_PREFIX",
    "SCHEMA",
    "DType",
    "GraphSpec",
    "Manifest",
    "ModelFacts",
    "TensorSpec",
    "WeightsFacts",
]

SCHEMA = 1
CACHE_PREFIX = "cache_"
NEW_CACHE_PREFIX = "new_cache_"

DType = Literal["float32", "float16", "uint8", "int8", "int32", "bool"]


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


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """One step graph: its interface, how it was made, and the files it lies in."""

    kind: Literal["encoder", "decoder"]
    precision: Literal["fp32"]
    form: Literal["conv2d", "conv3d"]
    opset: int
    file: str
    sha256: str
    data_file: str
    """The weights beside the graph, as ONNX external data."""
    data_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

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
        """Bytes of one set of caches, all slots; a running step holds two."""
        return sum(spec.nbytes for spec, _ in self.caches)

    @property
    def host_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the host fills: everything but the caches."""
        return tuple(spec for spec in self.inputs if not spec.name.startswith(CACHE_PREFIX))

    @property
    def host_outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that the host reads: everything but the caches."""
        return tuple(spec for spec in self.outputs if not spec.name.startswith(NEW_CACHE_PREFIX))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The tokenizer, as far as a runtime needs to know it."""

    variant: str
    version: Literal["1.0", "1.1"]
    causal: bool
    latent: Literal["fsq", "kl"]
    levels: tuple[int, ...]
    z_channels: int
    time_factor: int
    space_factor: int

    @property
    def codebook_size(self) -> int:
        """Number of different tokens; 0 for KL."""
        return prod(self.levels) if self.levels else 0


@dataclass(frozen=True, slots=True)
class WeightsFacts:
    """Where the weights came from."""

    source: Literal["embedded", "random", "hub", "file"]
    location: str
    sha256: str
    """Of the tensors in key order: the same for the same weights, whatever file they came in."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of one bundle.

    `height` and `width` are pixels, `streams` is B, `chunk` is N in latents; `verified` is true when the
    parity report of the export holds no failure.
    """

    schema: int
    toolkit: str
    model: ModelFacts
    promise: str
    height: int
    width: int
    streams: int
    chunk: int
    io: Literal["uint8", "float"]
    weights: WeightsFacts
    verified: bool
    graphs: tuple[GraphSpec, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the latent grid."""
        return self.height // self.model.space_factor, self.width // self.model.space_factor

    @property
    def chunk_frames(self) -> int:
        """Frames per call."""
        return self.chunk * self.model.time_factor

    def graph(self, kind: Literal["encoder", "decoder"], precision: str | None = None) -> GraphSpec:
        """The graph of `kind` in `precision`, or the first one where that is None."""
        found = [g for g in self.graphs if g.kind == kind and precision in (None, g.precision)]
        if not found:
            have = ", ".join(f"{g.kind}.{g.precision}" for g in self.graphs)
            raise BundleError(
                f"The bundle has no {kind} graph in {precision or 'any precision'}; it has {have}. "
                "Export it with that precision."
            )
        return found[0]

    def to_json(self) -> str:
        """The manifest as text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read and validate; raises `BundleSchemaUnknown`, `BundlePathEscapes` or `BundleError`."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise BundleError(f"manifest.json is not JSON: {error}. Export the bundle again.") from None
        schema = value.get("schema") if isinstance(value, dict) else None
        if schema != SCHEMA:
            raise BundleSchemaUnknown(
                f"manifest.json has schema {schema!r}; this toolkit reads {SCHEMA}. "
                "Export the bundle again, or install the toolkit version that wrote it."
            )
        try:
            manifest = from_plain(cls, value)
            manifest._check()
        except ValueError as error:
            raise BundleError(f"manifest.json: {error}. Export the bundle again.") from None
        return manifest

    def _check(self) -> None:
        for graph in self.graphs:
            for name in (graph.file, graph.data_file):
                _check_inside(name)
            ins = {s.name for s in graph.inputs if s.name.startswith(CACHE_PREFIX)}
            outs = {s.name for s in graph.outputs if s.name.startswith(NEW_CACHE_PREFIX)}
            if {"new_" + name for name in ins} != outs:
                raise ValueError(f"caches of the {graph.kind} do not pair up")
            for spec in (*graph.inputs, *graph.outputs):
                if any(n < 1 for n in spec.shape) or spec.nbytes > 2**36:
                    raise ValueError(f"the {graph.kind} has an impossible tensor: {spec}")
            if any((a.dtype, a.shape) != (b.dtype, b.shape) for a, b in graph.caches):
                raise ValueError(f"a cache of the {graph.kind} changes its shape or type")
        self._check_sizes()

    def _check_sizes(self) -> None:
        sizes = {name: getattr(self, name) for name in ("height", "width", "streams", "chunk")}
        factors = {"time_factor": self.model.time_factor, "space_factor": self.model.space_factor}
        for name, value in {**sizes, **factors}.items():
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")
        frames = (self.streams, self.chunk_frames, self.height, self.width, 3)
        for graph in self.graphs:
            side = graph.inputs if graph.kind == "encoder" else graph.outputs
            shape = next((s.shape for s in side if s.name == "frames"), None)
            if shape != frames:
                raise ValueError(f"frames of the {graph.kind}: expected {frames}, got {shape}")


def _check_inside(name: str) -> None:
    path = PurePosixPath(name)
    if not name or "\\" in name or ":" in name or path.is_absolute() or ".." in path.parts:
        raise BundlePathEscapes(
            f"manifest.json names the file {name!r}, which is not inside the bundle. "
            "Do not use this bundle; export it again from weights you trust."
        )
