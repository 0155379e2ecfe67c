"""The metadata of an ONNX file: the manifest's facts, so that a graph alone can be understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from vidtok_edge.errors import BundleError
from vidtok_edge.runtime.manifest.graphs import FormName, GraphSpec, Kind, Placement, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.model import ModelFacts
from vidtok_edge.runtime.manifest.plain import ADDED_LATER
from vidtok_edge.runtime.manifest.strings import from_strings, to_strings

__all__ = ["GraphMetadata"]

_PREFIX = "vidtok_edge."


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMetadata:
    """What a graph says of itself; fields mean what they mean in `Manifest` and `GraphSpec`."""

    graph: Kind
    toolkit: str
    model: ModelFacts
    promise: str
    height: int
    width: int
    streams: int
    chunk: int
    io: Literal["uint8", "float"]
    form: FormName
    precision: Precision
    placement: Placement
    int8_layers: tuple[str, ...]
    weights_source: str
    weights_sha256: str
    cache_layers: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)

    @classmethod
    def of(cls, manifest: Manifest, graph: GraphSpec) -> GraphMetadata:
        """The metadata of a graph of a bundle."""
        return cls(
            graph=graph.kind,
            toolkit=manifest.toolkit,
            model=manifest.model,
            promise=manifest.promise,
            height=manifest.height,
            width=manifest.width,
            streams=manifest.streams,
            chunk=manifest.chunk,
            io=manifest.io,
            form=graph.form,
            precision=graph.precision,
            placement=graph.placement,
            int8_layers=graph.int8_layers,
            weights_source=manifest.weights.source,
            weights_sha256=manifest.weights.sha256,
            cache_layers=graph.cache_layers,
        )

    def to_map(self) -> dict[str, str]:
        """As an ONNX file has it: strings by name, as `vidtok_edge.variant`."""
        return {_PREFIX + name: text for name, text in to_strings(asdict(self)).items()}

    @classmethod
    def from_map(cls, strings: Mapping[str, str]) -> GraphMetadata:
        """Read what `to_map` wrote: `metadata_props` in ONNX, in ONNX Runtime the session's
        `get_modelmeta().custom_metadata_map`. Raises BundleError.
        """
        try:
            return from_strings(cls, {k.removeprefix(_PREFIX): v for k, v in strings.items()})
        except ValueError as error:
            raise BundleError(
                f"The metadata of the graph does not say what it is: {error}. Export it again."
            ) from None
