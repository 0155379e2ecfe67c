"""What a bundle says of a model and of how it was lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from vidtok_edge import __version__
from vidtok_edge.lowering.numerics import FP16, FP32, Numerics
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime.manifest.graphs import (
    KINDS,
    OPSET,
    GraphSpec,
    Kind,
    Placement,
    graph_name,
)
from vidtok_edge.runtime.manifest.interface import Interface
from vidtok_edge.runtime.manifest.manifest import SCHEMA, Manifest
from vidtok_edge.runtime.manifest.model import CustomFacts, ModelFacts, WeightsFacts
from vidtok_edge.variants import VARIANTS, Variant, variant_by_name

__all__ = [
    "BOTH_FP16",
    "BOTH_FP32",
    "UNKNOWN_WEIGHTS",
    "custom_facts",
    "facts_of",
    "graph_spec",
    "manifest_of",
    "options_of",
    "variant_of",
]


BOTH_FP32: Mapping[Kind, Numerics] = dict.fromkeys(KINDS, FP32)


BOTH_FP16: Mapping[Kind, Numerics] = dict.fromkeys(KINDS, FP16)


UNKNOWN_WEIGHTS = WeightsFacts("file", "in memory", "")


def facts_of(variant: Variant) -> ModelFacts:
    """What a runtime needs to know of `variant`."""
    return ModelFacts(
        variant=variant.name,
        version=variant.version,
        causal=variant.causal,
        latent=variant.latent,
        levels=variant.levels,
        z_channels=variant.z_channels,
        time_factor=variant.time_factor,
        space_factor=variant.space_factor,
    )


def custom_facts(variant: Variant) -> CustomFacts | None:
    """What `facts_of` leaves out; None for the variants whose names say it."""
    if VARIANTS.get(variant.name) == variant:
        return None
    return CustomFacts(**{f.name: getattr(variant, f.name) for f in fields(CustomFacts)})


def variant_of(manifest: Manifest) -> Variant:
    """The variant whose graphs a bundle has. Raises `UnknownVariant`."""
    model, custom = manifest.model, manifest.custom
    if custom is None:
        return variant_by_name(model.variant)
    assert model.version is not None  # a manifest without one is refused
    return Variant(
        model.variant,
        model.version,
        model.causal,
        model.latent,
        model.z_channels,
        levels=model.levels,
        **{f.name: getattr(custom, f.name) for f in fields(CustomFacts)},
    )


def options_of(manifest: Manifest) -> StepOptions:
    """How the graphs of a bundle were lowered; the form is the one that was asked for."""
    asked = [graph for graph in manifest.graphs if graph.placement != Placement.ONNXRUNTIME]
    asked.sort(key=lambda graph: graph.precision != "fp32")  # the others may have another
    return StepOptions(
        manifest.height,
        manifest.width,
        streams=manifest.streams,
        chunk=manifest.chunk,
        form=asked[0].form if asked else "channels_last",
        io=manifest.io,
    )


def manifest_of(
    variant: Variant,
    options: StepOptions,
    weights: WeightsFacts = UNKNOWN_WEIGHTS,
    graphs: tuple[GraphSpec, ...] = (),
) -> Manifest:
    """What a bundle says of itself, not verified."""
    return Manifest(
        schema=SCHEMA,
        toolkit=__version__,
        model=facts_of(variant),
        promise=variant.promise,
        height=options.height,
        width=options.width,
        streams=options.streams,
        chunk=options.chunk,
        io=options.io,
        weights=weights,
        verified=False,
        graphs=graphs,
        custom=custom_facts(variant),
    )


def graph_spec(
    kind: Kind,
    options: StepOptions,
    numerics: Numerics,
    interface: Interface,
    int8_work: float = 0.0,
) -> GraphSpec:
    """What the manifest says of a graph, but for its hashes; `options.form` is the graph's own."""
    file = graph_name(kind, numerics.precision, numerics.placement) + ".onnx"
    return GraphSpec(
        kind=kind,
        precision=numerics.precision,
        placement=numerics.placement,
        form=options.form,
        opset=OPSET,
        file=file,
        sha256="",
        data_file=file + ".data",
        data_sha256="",
        inputs=interface.inputs,
        outputs=interface.outputs,
        int8_layers=numerics.int8_layers,
        work_int8_permille=round(1000 * int8_work),
        cache_layers=interface.cache_layers,
    )
