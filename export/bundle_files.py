"""The files of a bundle: graphs from a model, and the manifest about them."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vidtok_edge.export.graphs.graph import write_graph
from vidtok_edge.hashes import sha256_of
from vidtok_edge.lowering.facts import BOTH_FP32, UNKNOWN_WEIGHTS, graph_spec, manifest_of
from vidtok_edge.lowering.interface import KINDS, interface_of
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.step import Kind, StepOptions, lower
from vidtok_edge.lowering.work import share
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bundle import MANIFEST
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.metadata import GraphMetadata
from vidtok_edge.runtime.manifest.model import WeightsFacts
from vidtok_edge.runtime.progress import Stage, no_stage
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["write_graphs", "write_manifest"]


def write_graphs(
    model: VidTok,
    options: StepOptions,
    folder: Path,
    weights: WeightsFacts = UNKNOWN_WEIGHTS,
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
        write_graph(step, interface, path, GraphMetadata.of(manifest, graph).to_map(), numerics)
        del step
        gc.collect()  # a full-width step is a second copy of the weights, and has cycles
    return replace(graph, sha256=sha256_of(path), data_sha256=sha256_of(data))
