"""Two sides compared: streamed beside one another, then layer by layer, then reduced."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.comparing.half import CallCase, Half, captured_call, compared_half
from vidtok_edge.runtime.comparing.side import Side
from vidtok_edge.runtime.manifest.graphs import KINDS
from vidtok_edge.runtime.progress import Progress, Stage, no_progress, no_stage, one_by_one
from vidtok_edge.runtime.proving.golden import GoldenStream
from vidtok_edge.runtime.proving.prove import exact_frames

if TYPE_CHECKING:
    from vidtok_edge.runtime.comparing.layers import LayerTable
    from vidtok_edge.runtime.comparing.reduction import Reduction

__all__ = ["Comparison", "Looked", "compare", "look_into", "reduce"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both halves of two sides. Truthy where nothing differs beyond its limit."""

    sides: tuple[Side, Side]
    golden: GoldenStream
    halves: tuple[Half, ...]
    threads: int | None

    def __bool__(self) -> bool:
        return all(self.halves)

    @property
    def looked_at(self) -> Half:
        """The half whose layers are looked at: the first that differs, else the one in which
        something differs most."""
        failed = [half for half in self.halves if not half]
        return failed[0] if failed else min(self.halves, key=lambda half: half.lowest[1].db)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One call of one half, looked into."""

    half: Half
    call: int
    case: CallCase
    table: LayerTable
    paths: tuple[Path, Path]
    backends: tuple[Backend, Backend]


def compare(
    sides: tuple[Side, Side], *, threads: int | None = None, progress: Progress = no_progress
) -> Comparison:
    """Stream the golden stream of the first side's bundle through both; NumPy is enough.

    Args:
        sides: what runs; the second is held to the first.
        threads: CPU threads of a call; ONNX Runtime's choice where None.
        progress: told of the frames and latents that went in.

    Raises:
        GoldenStreamError: there is no golden stream, or none that can be used here.
        BundleError, MissingFromEnvironment: a side does not run here.
    """
    bundle = sides[0].bundle
    golden = GoldenStream.load(bundle.path, bundle.manifest)
    frames = exact_frames(golden)
    told = one_by_one(progress, len(frames) + golden.facts.decoder_latents)
    halves = tuple(
        compared_half(kind, sides, golden, frames, threads=threads, told=told) for kind in KINDS
    )
    return Comparison(sides=sides, golden=golden, halves=halves, threads=threads)


def look_into(comparison: Comparison) -> Looked:
    """The layers of the call in which something differs first, or most where nothing does.

    Raises MissingDependency: the extra `debug` is not installed.
    """
    try:
        from vidtok_edge.runtime.comparing.layers import compared_layers
    except ModuleNotFoundError as error:
        raise MissingDependency(str(error.name), "debug", "Looking into layers") from None
    half, sides = comparison.looked_at, comparison.sides
    call = half.lowest[0] if half.difference is None else half.difference.call
    frames = exact_frames(comparison.golden)
    case = captured_call(
        half.kind, sides, comparison.golden, frames, call, threads=comparison.threads
    )
    paths = _paths(sides, half)
    backends = (Backend(half.infos[0].active), Backend(half.infos[1].active))
    table = compared_layers(case, paths, backends, comparison.threads)
    return Looked(half=half, call=call, case=case, table=table, paths=paths, backends=backends)


def reduce(
    comparison: Comparison,
    looked: Looked,
    output: Path,
    *,
    force: bool = False,
    stage: Stage = no_stage,
) -> Reduction:
    """Reduce the second side's graph to the nodes that differ; raises as `reduced`, and as
    `look_into`."""
    for package in ("onnx", "onnx_graphsurgeon", "polygraphy"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(package, "debug", "Reducing a graph")
    from vidtok_edge.runtime.comparing.reduction import reduced

    difference = looked.half.difference
    return reduced(
        looked.case,
        looked.table,
        looked.paths[1],
        looked.backends[1],
        looked.half.result if difference is None else difference.tensor,
        output,
        threads=comparison.threads,
        force=force,
        stage=stage,
    )


def _paths(sides: Sequence[Side], half: Half) -> tuple[Path, Path]:
    first, second = (
        side.bundle.folder_of(graph) / graph.file
        for side, graph in zip(sides, half.graphs, strict=True)
    )
    return first, second
