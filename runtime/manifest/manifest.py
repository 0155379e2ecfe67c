"""`manifest.json`: what a bundle is, so that nobody has to open a graph to know."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Literal

from vidtok_edge.errors import (
    BundleError,
    BundlePathEscapes,
    BundleSchemaUnknown,
    EngineMissing,
)
from vidtok_edge.runtime.manifest.documents import DocumentKind, SchemaUnknown, fields
from vidtok_edge.runtime.manifest.graphs import (
    CACHE_PREFIX,
    NEW_CACHE_PREFIX,
    GraphSpec,
    Kind,
    Placement,
    Precision,
    stream_outputs,
)
from vidtok_edge.runtime.manifest.interface import host_interface
from vidtok_edge.runtime.manifest.model import CustomFacts, ModelFacts, WeightsFacts
from vidtok_edge.runtime.manifest.plain import ADDED_LATER, to_plain
from vidtok_edge.runtime.manifest.reach import reach_in_latents

__all__ = ["DOCUMENT", "SCHEMA", "EntryQuality", "Manifest"]

SCHEMA = 2
DOCUMENT = DocumentKind(  # a real one has about 20,000 bytes
    schema=SCHEMA,
    too_large="has more than {mib} MiB: it is no manifest",
    not_text="is not UTF-8 text",
    not_json="manifest.json is not JSON: {error}",
    other_schema="manifest.json has schema {found}; this toolkit reads {schema}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryQuality:
    """How near the first frames are where decoding begins in the middle of a stream."""

    lead: int
    """Latents that are decoded before the first one whose frames are wanted."""
    psnr_db: float
    """Of its frames, against decoding everything, on a shipped clip; 99 where they are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The facts of one bundle.

    `height` and `width` are pixels, `streams` is B, `chunk` is N in latents; `verified` is true
    when the parity report of the export holds no failure.
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
    custom: CustomFacts | None = field(default=None, metadata=ADDED_LATER)
    """The rest of the configuration; None for published models, and then not written."""
    verified_with: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    """The backend and the packages of the verification, each with its version: INT8 differs between
    versions of ONNX Runtime, and the rounding of float32, too."""
    entries: tuple[EntryQuality, ...] = field(default=(), metadata=ADDED_LATER)
    """By the verification, in float32; nothing where it was not measured."""

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the latent grid."""
        return self.height // self.model.space_factor, self.width // self.model.space_factor

    @property
    def chunk_frames(self) -> int:
        """Frames per call."""
        return self.chunk * self.model.time_factor

    def graph(
        self,
        kind: Kind,
        precision: str | None = None,
        placement: Placement = Placement.ONNXRUNTIME,
    ) -> GraphSpec:
        """The graph of `kind` in `precision` (None: the first one) for backends of `placement`.

        Raises:
            EngineMissing: it has a form of which no engine is built.
            BundleError: there is none.
        """
        of_kind = [g for g in self.graphs if g.kind == kind]
        precision = precision or (of_kind[0].precision if of_kind else None)
        there = [g for g in of_kind if g.precision == precision]
        found = [g for g in there if g.serves(placement)]
        if not found and any(g.placement == Placement.ANY for g in there):
            raise EngineMissing(
                f"No engine is built of {there[0].file}: its form, {there[0].form}, is for ONNX "
                "Runtime. Export FP16 graphs for engines, with --precision fp16, or for engines in "
                "FP32 name their form: --form conv2d."
            )
        if not found:
            have = ", ".join(g.name for g in self.graphs)
            raise BundleError(
                f"The bundle has no {kind} graph in {precision or 'any precision'}"
                f"{' for TensorRT' if placement == Placement.TENSORRT else ''}; it has {have}. "
                "Export it with that precision."
            )
        return found[0]

    def reach(self, kind: Kind) -> int | None:
        """How many latents the state of an encoder or a decoder remembers; see `reach_in_latents`.

        The same in every precision and form. None: nothing is carried, or the bundle is of before
        it was written down whose past each cache is.
        """
        return reach_in_latents(next(g for g in self.graphs if g.kind == kind), self.model)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What there is, in the order in which it was exported."""
        return tuple(dict.fromkeys(g.precision for g in self.graphs))

    def to_json(self) -> str:
        """The manifest as text; without what was added later and is not known."""
        return json.dumps(to_plain(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read and validate; raises `BundleSchemaUnknown`, `BundlePathEscapes` or `BundleError`."""
        try:
            plain = DOCUMENT.parsed(text)
        except SchemaUnknown as error:
            raise BundleSchemaUnknown(
                f"{error}. Export the bundle again, or install the toolkit version that wrote it."
            ) from None
        except ValueError as error:
            raise BundleError(f"{error}. Export the bundle again.") from None
        try:
            manifest = fields(cls, plain)
            manifest._check()
        except ValueError as error:
            raise BundleError(f"manifest.json: {error}. Export the bundle again.") from None
        return manifest

    def _check(self) -> None:
        self._check_model()
        for graph in self.graphs:
            for name in (graph.file, graph.data_file):
                _check_inside(name)
            _check_precision(graph)
            _check_tensors(graph, self.streams)
            self._check_interface(graph)
        names = [graph.name for graph in self.graphs]
        if len(set(names)) < len(names):
            raise ValueError(f"two graphs of one name: {', '.join(names)}")

    def _check_model(self) -> None:
        sizes = {name: getattr(self, name) for name in ("height", "width", "streams", "chunk")}
        factors = {"time_factor": self.model.time_factor, "space_factor": self.model.space_factor}
        for name, value in {**sizes, **factors}.items():
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")
        if not self.model.levels_fit:
            raise ValueError(f"levels: {self.model.levels} do not fit a {self.model.latent} model")
        if self.custom is not None and not self.custom.plausible:
            raise ValueError(f"custom: {self.custom} is no configuration of a model")
        if self.model.version is None:
            raise ValueError("model.version: expected '1.0' or '1.1', got None")

    def _check_interface(self, graph: GraphSpec) -> None:
        """The graph takes and gives what the streams of the runtime will write and read."""
        host = host_interface(
            self.model,
            graph.kind,
            height=self.height,
            width=self.width,
            streams=self.streams,
            chunk=self.chunk,
            io=self.io,
        )
        found = {spec.name: spec for spec in (*graph.host_inputs, *graph.host_outputs)}
        for spec in (*host.inputs, *stream_outputs(host.outputs)):
            got = found.get(spec.name)
            if got != spec:
                had = got or f"no {spec.name}"
                raise ValueError(f"the {graph.kind} has {had}, expected {spec}")
        extra = {spec.name for spec in graph.host_inputs} - {spec.name for spec in host.inputs}
        if extra:
            raise ValueError(f"the {graph.kind} has unknown inputs: {sorted(extra)}")


def _check_precision(graph: GraphSpec) -> None:
    if (graph.precision == "int8") != (graph.placement != Placement.ANY):
        raise ValueError(
            f"{graph.file} is {graph.precision} placed for {graph.placement}; expected a backend "
            "for int8, and any for the others"
        )
    if not 0 <= graph.work_int8_permille <= 1000:
        raise ValueError(f"work_int8_permille: expected 0 to 1000, got {graph.work_int8_permille}")


def _check_tensors(graph: GraphSpec, streams: int) -> None:
    for side in (graph.inputs, graph.outputs):
        if len({spec.name for spec in side}) < len(side):
            raise ValueError(f"the {graph.kind} has two tensors of one name")
    ins = {s.name for s in graph.inputs if s.name.startswith(CACHE_PREFIX)}
    outs = {s.name for s in graph.outputs if s.name.startswith(NEW_CACHE_PREFIX)}
    if {"new_" + name for name in ins} != outs:
        raise ValueError(f"caches of the {graph.kind} do not pair up")
    for spec in (*graph.inputs, *graph.outputs):
        if any(n < 1 for n in spec.shape) or spec.nbytes > 2**36:
            raise ValueError(f"the {graph.kind} has an impossible tensor: {spec}")
    if len(graph.cache_layers) not in (0, len(graph.caches)):
        raise ValueError(
            f"cache_layers: expected one for each of {len(graph.caches)} caches of the "
            f"{graph.kind}, got {len(graph.cache_layers)}"
        )
    for old, new in graph.caches:
        if (old.dtype, old.shape) != (new.dtype, new.shape) or old.shape[:1] != (streams,):
            raise ValueError(f"a cache of the {graph.kind} changes its shape or type: {old}, {new}")


def _check_inside(name: str) -> None:
    plain = re.fullmatch(r"[\w.+-]{1,100}(/[\w.+-]{1,100}){0,4}", name, re.ASCII)
    if not plain or ".." in name.split("/"):
        raise BundlePathEscapes(
            f"manifest.json names the file {name[:100]!r}, which is no plain path inside the "
            "bundle. Do not use this bundle; export it again from weights you trust."
        )
