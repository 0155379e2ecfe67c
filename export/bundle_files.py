"""The files of a bundle: graphs from a model, and the manifest about them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vidtok_edge import __version__
from vidtok_edge.export.graph import write_graph
from vidtok_edge.export.graph_rules import OPSET
from vidtok_edge.export.interface import interface_of
from vidtok_edge.export.step import StepDecoder, StepEncoder, StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.bundle import MANIFEST, sha256_of
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest import SCHEMA, GraphSpec, Manifest, ModelFacts, WeightsFacts
from vidtok_edge.vidtok_ref import Variant, VidTok

__all__ = ["KINDS", "Stage", "facts_of", "no_stage", "options_of", "write_graphs", "write_manifest"]

KINDS: tuple[Literal["encoder", "decoder"], ...] = ("encoder", "decoder")
PRECISION: Literal["fp32"] = "fp32"

Stage = Callable[[str, Path | None], AbstractContextManager[None]]
"""Brackets one stage of long work: its name, and the file or folder that it writes."""

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
    """How the graphs of a bundle were lowered."""
    return StepOptions(
        manifest.height,
        manifest.width,
        manifest.streams,
        manifest.chunk,
        manifest.graphs[0].form,
        manifest.io,
    )


def no_stage(name: str, path: Path | None) -> AbstractContextManager[None]:
    """The `Stage` of a caller who wants no progress."""
    return nullcontext()


def write_graphs(
    model: VidTok,
    options: StepOptions,
    folder: Path,
    weights: WeightsFacts = _UNKNOWN,
    stage: Stage = no_stage,
) -> Bundle:
    """Write both step graphs of `model` and a manifest, not verified, into an empty `folder`."""
    variant = model.variant
    manifest = Manifest(
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
        graphs=(),
    )
    graphs = tuple(_write_graph(model, options, kind, folder, manifest, stage) for kind in KINDS)
    return write_manifest(folder, replace(manifest, graphs=graphs))


def write_manifest(folder: Path, manifest: Manifest) -> Bundle:
    """Write `manifest` into `folder` and load the bundle that this makes."""
    with write_beside(folder / MANIFEST, force=True) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.load(folder)


def _write_graph(
    model: VidTok,
    options: StepOptions,
    kind: Literal["encoder", "decoder"],
    folder: Path,
    manifest: Manifest,
    stage: Stage,
) -> GraphSpec:
    path = folder / f"{kind}.{PRECISION}.onnx"
    data = path.with_name(path.name + ".data")
    with stage(path.name, data):
        interface = interface_of(model.variant, options, kind)
        step = (StepEncoder if kind == "encoder" else StepDecoder)(model, options)
        write_graph(step, interface, path, _metadata(manifest, options, kind))
        del step
        gc.collect()  # a full-width step is a second copy of the weights, and has cycles
    return GraphSpec(
        kind,
        PRECISION,
        "any",
        options.form,
        OPSET,
        path.name,
        sha256_of(path),
        data.name,
        sha256_of(data),
        interface.inputs,
        interface.outputs,
    )


def _metadata(manifest: Manifest, options: StepOptions, kind: str) -> dict[str, str]:
    """The manifest's facts, so that a graph alone can be understood."""
    model = manifest.model
    return {
        "graph": kind,
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
        "height": str(options.height),
        "width": str(options.width),
        "streams": str(options.streams),
        "chunk": str(options.chunk),
        "io": options.io,
        "form": options.form,
        "precision": PRECISION,
        "weights_source": manifest.weights.source,
        "weights_sha256": manifest.weights.sha256,
    }
