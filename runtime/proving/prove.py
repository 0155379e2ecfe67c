"""A bundle proves itself: its golden stream through the backend and precision that will run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge import __version__
from vidtok_edge.errors import GoldenStreamError
from vidtok_edge.runtime.backends.backend import Backend, Target
from vidtok_edge.runtime.backends.engines.sidecar import engine_file
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import BackendInfo
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.bench.meters.sampling import open_meters, peak_rss_mb
from vidtok_edge.runtime.bench.meters.settings import driver_version
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Kind, Placement, Precision
from vidtok_edge.runtime.progress import Progress, no_progress, one_by_one
from vidtok_edge.runtime.proofs import (
    SCHEMA,
    PartFigures,
    Proof,
    ProvenGraph,
    device_of,
    proven_graph,
)
from vidtok_edge.runtime.proving.comparing import Comparison, Metric, limit_of
from vidtok_edge.runtime.proving.golden import GoldenStream
from vidtok_edge.runtime.proving.running import decoded, encoded

__all__ = [
    "Wanted",
    "engine_files",
    "engines_here",
    "exact_frames",
    "first_fault",
    "golden_items",
    "prove",
    "what_to_prove",
]

Wanted = tuple[Backend, str]
"""A backend and a precision."""


def what_to_prove(bundle: Bundle, backend: Backend, precisions: Iterable[str] = ()) -> list[Wanted]:
    """What would run here: the engines for this GPU where `auto` finds any, else what
    `backend` runs, in each precision.

    Args:
        bundle: as loaded.
        backend: that was asked for.
        precisions: that were asked for; all that there are where none was.
    """
    asked = tuple(precisions)
    if asked:
        return [(backend, precision) for precision in asked]
    if backend is Backend.AUTO:
        for target in Target:
            if found := engines_here(bundle, target):
                return [(Backend(target.value), precision) for precision in found]
        backend = Backend.ONNXRUNTIME
    if backend.target is not None:
        found = engines_here(bundle, backend.target)
        return [(backend, precision) for precision in found or bundle.manifest.precisions[:1]]
    graphs = bundle.manifest.graphs
    there = dict.fromkeys(g.precision for g in graphs if g.serves(backend.placement))
    return [(backend, precision) for precision in there]


def engine_files(bundle: Bundle, target: Target) -> list[tuple[GraphSpec, Path]]:
    """The engines that lie here for this GPU, fitting or not, as `Bundle.step` looks for them."""
    gpu = present_gpu()
    if gpu is None:
        return []
    found = [
        (graph, engine_file(form.path, graph, target, gpu.architecture))
        for form in (bundle, *bundle.other_forms())
        for graph in form.manifest.graphs
        if graph.serves(Placement.TENSORRT)
    ]
    return [(graph, path) for graph, path in found if path.is_file()]


def engines_here(bundle: Bundle, target: Target) -> list[str]:
    """The precisions of `engine_files`."""
    there = {graph.precision for graph, _ in engine_files(bundle, target)}
    return [precision for precision in bundle.manifest.precisions if precision in there]


def prove(
    bundle: Bundle,
    backend: Backend = Backend.AUTO,
    precision: str | None = None,
    *,
    threads: int | None = None,
    progress: Progress = no_progress,
) -> Proof:
    """Stream the golden stream of `bundle`, compare and measure; writes nothing.

    Args:
        bundle: as loaded.
        backend: that shall run it; the decoder takes the one that `AUTO` finds for the encoder.
        precision: of the graphs; the bundle's first where None.
        threads: CPU threads of a call; ONNX Runtime's choice where None.
        progress: told of the frames and latents that went in.

    Raises:
        GoldenStreamError: there is no golden stream, or none that can be used here.
        BundleError, MissingFromEnvironment: as `Bundle.step` does; also while it runs.
    """
    began, machine = time.perf_counter(), describe_machine()
    golden = GoldenStream.load(bundle.path, bundle.manifest)
    frames = exact_frames(golden)
    told = one_by_one(progress, len(frames) + golden.facts.decoder_latents)
    asked = _Asked(bundle, golden, backend, precision, threads)
    encoder = _half(asked, "encoder", frames, told)
    # What AUTO found for the encoder must run the decoder, too: a proof is of one backend.
    asked = replace(asked, backend=Backend(encoder.info.active))
    decoder = _half(asked, "decoder", list(golden.decoder_values()), told)
    differences = (*encoder.comparison.differences(), *decoder.comparison.differences())
    info = encoder.info
    return Proof(
        schema=SCHEMA,
        toolkit=__version__,
        verdict="failed" if differences else "passed",
        differences=differences,
        backend=info.active,
        library=info.library,
        fell_back=info.fell_back,
        precision=encoder.precision,
        device=device_of(info.active),
        driver=driver_version(),
        variant=bundle.manifest.model.variant,
        golden_sha256=golden.facts.arrays_sha256,
        encoder=encoder.figures(),
        decoder=decoder.figures(),
        seconds=round(time.perf_counter() - began, 2),
        peak_rss_mb=peak_rss_mb(),
        readings=_readings(),
        machine=dict(machine.rows()),
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def first_fault(bundle: Bundle, kind: Kind, backend: Backend, precision: str) -> str:
    """What one graph gives wrong first of its part of the golden stream; empty where nothing.

    Raises what `prove` raises.
    """
    golden = GoldenStream.load(bundle.path, bundle.manifest)
    items = golden_items(golden, kind)
    half = _half(_Asked(bundle, golden, backend, precision, None), kind, items, lambda: None)
    return next((one.text for one in half.comparison.differences()), "")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be proven."""

    bundle: Bundle
    golden: GoldenStream
    backend: Backend
    precision: str | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class _Half:
    """An encoder or a decoder that ran."""

    comparison: Comparison
    graph: ProvenGraph
    precision: Precision
    info: BackendInfo

    def figures(self) -> PartFigures:
        """For the proof."""
        comparison = self.comparison
        flips, calls_ms = comparison.flips, np.array(comparison.run.calls_ns or [0]) / 1e6
        is_tokens = comparison.metric == "tokens"
        return PartFigures(
            kind=comparison.kind,
            graph=self.graph,
            covered=comparison.golden.facts.covered(comparison.kind),
            metric=comparison.metric,
            value=round(comparison.value, 5),
            limit=round(comparison.least, 5),
            tokens_differ=len(flips) if is_tokens else None,
            farthest=round(float(flips.max()), 3) if len(flips) else None,
            bit_equal=comparison.bit_equal,
            items=len(comparison.run.items),
            runs_equal=comparison.runs_equal,
            slots_equal=comparison.slots_equal,
            calls=len(comparison.run.calls_ns),
            p50_ms=round(float(np.percentile(calls_ms, 50)), 3),
            p99_ms=round(float(np.percentile(calls_ms, 99)), 3),
        )


def _half(asked: _Asked, kind: Kind, items: list[NDArray[Any]], told: Callable[[], None]) -> _Half:
    bundle, golden = asked.bundle, asked.golden
    with bundle.step(kind, asked.backend, asked.precision, asked.threads) as step:
        graph, info = step.graph, step.info
        run = (encoded if kind == "encoder" else decoded)(bundle.manifest, step, items, told=told)
    given: tuple[float, ...] = ()
    if graph.precision != "fp32":
        before = golden.given(graph)
        if before is None:
            raise GoldenStreamError(
                f"The golden stream of {bundle.path} does not say what {graph.precision} gave at "
                "the export. Export the bundle again, or calibrate it again."
            )
        given = before.encoder if kind == "encoder" else before.decoder
    metric: Metric = "tokens" if kind == "encoder" and golden.margin is not None else "dB"
    comparison = Comparison(
        golden=golden,
        manifest=bundle.manifest,
        kind=kind,
        run=run,
        limit=limit_of(graph.precision, metric, given),
        given=given,
    )
    folder, device = bundle.folder_of(graph), device_of(info.active)
    proven = proven_graph(folder, graph, info, device.short)
    return _Half(comparison, proven, graph.precision, info)


def golden_items(golden: GoldenStream, kind: Kind) -> list[NDArray[Any]]:
    """What the encoder or the decoder is given. GoldenStreamError: not what the export had."""
    return exact_frames(golden) if kind == "encoder" else list(golden.decoder_values())


def exact_frames(golden: GoldenStream) -> list[NDArray[Any]]:
    """The frames of the golden stream. GoldenStreamError: they are not those of the export."""
    frames, digest = [], hashlib.sha256()
    for frame in golden.frames():
        frames.append(frame)
        digest.update(frame.tobytes())
    if digest.hexdigest() != golden.facts.frames_sha256:
        raise GoldenStreamError(
            f"NumPy {np.__version__} makes other frames of the recipe {golden.facts.recipe!r} than "
            "the export had, so nothing can be compared. Please report it, with the version."
        )
    return frames


def _readings() -> dict[str, float]:
    """What meters say now; nothing where there are none."""
    found: dict[str, float] = {}
    for meter in open_meters():
        with suppress(Exception):  # each has its own ways to fail; none costs a proof
            found |= {name: round(value, 3) for name, value in meter.read().items()}
        with suppress(Exception):
            meter.close()
    return found
