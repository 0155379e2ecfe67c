"""The files of a bundle: graphs from a model, and the manifest about them."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vidtok_edge import __version__
from vidtok_edge.export.graph import write_graph
from vidtok_edge.export.graph_rules import OPSET
from vidtok_edge.export.interface import KINDS, Interface, interface_of
from vidtok_edge.export.numerics import FP16, FP32, Numerics
from vidtok_edge.export.stage import Stage, no_stage
from vidtok_edge.export.step import Kind, StepOptions, lower
from vidtok_edge.export.work import share
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bundle import MANIFEST, sha256_of
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest import (
    SCHEMA,
    GraphSpec,
    Manifest,
    ModelFacts,
    WeightsFacts,
    graph_name,
)
from vidtok_edge.vidtok_ref import Variant, VidTok

__all__ = [
    "BOTH_FP16",
    "BOTH_FP32",
    "facts_of",
    "graph_spec",
    "manifest_of",
    "options_of",
    "write_graphs",
    "write_manifest",
]

BOTH_FP32: Mapping[Kind, Numerics] = dict.fromkeys(KINDS, FP32)
BOTH_FP16: Mapping[Kind, Numerics] = dict.fromkeys(KINDS, FP16)

_UNKNOWN = WeightsFacts("file", "in memory", "")


def facts_of(variant: Variant) -> ModelFacts:
    """What a runtime needs to know of `variant`."""
    return ModelFacts(
        variant.name,
        variant.version,
        variant.causal,
        variant.latent,
        variant.levels,
        variant.z_channels,
        variant.time_factor,
        variant.space_factor,
    )


def options_of(manifest: Manifest) -> StepOptions:
    """How the graphs of a bundle were lowered; those that chose their form themselves aside."""
    forms = [graph.form for graph in manifest.graphs if graph.form != "channels_last"]
    return StepOptions(
        manifest.height,
        manifest.width,
        manifest.streams,
        manifest.chunk,
        forms[0] if forms else "conv2d",
        manifest.io,
    )


def manifest_of(
    variant: Variant,
    options: StepOptions,
    weights: WeightsFacts = _UNKNOWN,
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
    )


def write_graphs(
    model: VidTok,
    options: StepOptions,
    folder: Path,
    weights: WeightsFacts = _UNKNOWN,
    stage: Stage = no_stage,
    numerics: Sequence[Mapping[Kind, Numerics]] = (BOTH_FP32,),
) -> Bundle:
    """Write step graphs of `model` and a manifest, not verified, into `folder`.

    Args:
        model: the reference, float32.
        options: how to lower.
        folder: graphs that its manifest names already are kept, unless they are written anew.
        weights: where those of `model` came from.
        stage: called around each graph.
        numerics: one pair of graphs for each.
    """
    manifest = manifest_of(model.variant, options, weights)
    kept = Bundle.load(folder).manifest.graphs if (folder / MANIFEST).exists() else ()
    graphs = [
        _write_graph(model, options, kind, numerics_of[kind], folder, manifest, stage)
        for numerics_of in numerics
        for kind in KINDS
    ]
    names = {graph.name for graph in graphs}
    graphs = [*(graph for graph in kept if graph.name not in names), *graphs]
    return write_manifest(folder, replace(manifest, graphs=tuple(graphs)))


def write_manifest(folder: Path, manifest: Manifest) -> Bundle:
    """Write `manifest` into `folder` and load the bundle that this makes."""
    with write_beside(folder / MANIFEST, force=True) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.load(folder)


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
        kind,
        numerics.precision,
        numerics.placement,
        options.form,
        OPSET,
        file,
        "",
        file + ".data",
        "",
        interface.inputs,
        interface.outputs,
        numerics.int8_layers,
        round(1000 * int8_work),
    )


def _write_graph(
    model: VidTok,
    options: StepOptions,
    kind: Kind,
    numerics: Numerics,
    folder: Path,
    manifest: Manifest,
    stage: Stage,
) -> GraphSpec:
    int8_work = share(model.variant, options, kind, numerics.int8_layers)
    options = replace(options, form=numerics.form(options.form))
    interface = interface_of(model.variant, options, kind, numerics)
    graph = graph_spec(kind, options, numerics, interface, int8_work)
    path, data = folder / graph.file, folder / graph.data_file
    with stage(path.name, data):
        step = lower(model, options, kind, numerics)
        write_graph(step, interface, path, _metadata(manifest, graph), numerics)
        del step
        gc.collect()  # a full-width step is a second copy of the weights, and has cycles
    return replace(graph, sha256=sha256_of(path), data_sha256=sha256_of(data))


def _metadata(manifest: Manifest, graph: GraphSpec) -> dict[str, str]:
    """The manifest's facts, so that a graph alone can be understood."""
    model = manifest.model
    return {
        "graph": graph.kind,
        "toolkit": manifest.toolkit,
        "variant": model.variant,
        "version": model.version,
        "causal": str(model.causal).lower(),
        "latent": model.latent,
        "levels": ",".join(map(str, model.levels)),
        "z_channels": str(model.z_channels),
        "time_factor": str(model.time_factor),
        "space_factor": str(model.space_factor),
        "promise": manifest.promise,
        "height": str(manifest.height),
        "width": str(manifest.width),
        "streams": str(manifest.streams),
        "chunk": str(manifest.chunk),
        "io": manifest.io,
        "form": graph.form,
        "precision": graph.precision,
        "placement": graph.placement,
        "int8_layers": ",".join(graph.int8_layers),
        "weights_source": manifest.weights.source,
        "weights_sha256": manifest.weights.sha256,
    }
