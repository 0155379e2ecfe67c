"""A graph that computes something wrong, reduced to the few nodes that do, by Polygraphy."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidtok_edge.errors import CheckFailed
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.comparing import check as check_module
from vidtok_edge.runtime.comparing.check import COUNT, ERROR, FAILS
from vidtok_edge.runtime.comparing.half import CallCase
from vidtok_edge.runtime.comparing.layers import LayerFigure, LayerTable
from vidtok_edge.runtime.comparing.limits import best_of_layers
from vidtok_edge.runtime.comparing.part import GraphPart, WholeGraph, names_in
from vidtok_edge.runtime.comparing.reduction_case import CaseFacts, ReductionCase
from vidtok_edge.runtime.folders import write_folder_beside
from vidtok_edge.runtime.manifest.documents import write_document
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.manifest.layer_tensors import leaving
from vidtok_edge.runtime.manifest.plain import to_plain
from vidtok_edge.runtime.npz import write_arrays
from vidtok_edge.runtime.progress import Stage, no_stage

__all__ = ["MARKER", "Reduction", "reduced"]

MARKER = "reduction.json"
"""In each folder that is written."""
_NEAR = 3.0
"""dB: what loses nearly as much as the worst layer fails, too."""
_TRIED = "tried.onnx"
_POLYGRAPHY = "import sys; from polygraphy.tools import main; sys.exit(main())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """What is left of a graph."""

    schema: int
    graph: str
    """The file that was reduced."""
    nodes_before: int
    nodes: tuple[str, ...]
    """That are left, whole layers."""
    polygraphy_nodes: tuple[str, ...]
    """That Polygraphy left of them: it may cut within a layer."""
    inputs: tuple[str, ...]
    layers: tuple[LayerFigure, ...]
    """What each layer that is left loses, given the other side's values; worst first."""
    checks: int
    """Graphs that were tried."""


def reduced(
    case: CallCase,
    table: LayerTable,
    path: Path,
    backend: Backend,
    differs: str,
    output: Path,
    *,
    threads: int | None = None,
    force: bool = False,
    stage: Stage = no_stage,
) -> Reduction:
    """Reduce the second side's graph; write what is left into the folder `output`.

    The folder has `reduced.onnx` with its weights, `inputs.npz` and `expected.npz` with the first
    side's values, and `reduction.json`.

    Args:
        case: the call in which something differs.
        table: its layers.
        path: the file of the second side's graph.
        backend: what runs it.
        differs: the output that differs; the graph is cut to what that needs, if the worst layer
            is part of it.
        output: a folder; it must not be there, or `force` be set.
        threads: CPU threads of a call.
        stage: called around each run of Polygraphy, for progress.

    Raises:
        CheckFailed: no layer loses enough to look for, or Polygraphy ended with an error.
        OutputExists, OutputNotWritable: as `write_folder_beside`.
    """
    worst = table.worst[0] if table.worst else None
    if worst is None or worst:
        raise CheckFailed(
            "No layer loses enough of what comes into it to be looked for: what differs comes from "
            "all of them. The table of layers says what each loses."
        )
    with (
        write_folder_beside(output, force, marker=MARKER) as folder,
        tempfile.TemporaryDirectory(prefix="vidtok_edge_reduce_") as scratch,
    ):
        values = {**table.values, **case.second}
        tensors = leaving(path, case.graphs[1])
        whole = WholeGraph(path, tensors)
        wanted = _wanted(whole, case.graphs[1], worst, differs)
        facts = CaseFacts(
            schema=1,
            backend=backend,
            threads=threads,
            streams=case.graphs[1].inputs[0].shape[0],
            best=best_of_layers(*(graph.precision for graph in case.graphs)),
            lost=worst.lost - _NEAR,
            tensors=tuple(values),
            leaving=tensors,
        )
        graph = whole.cut(wanted, values).SerializeToString()
        made = ReductionCase.make(Path(scratch), facts, graph, values)
        with stage("bisecting", None):
            left = _reduce(made, made.path, "bisect")
        if len(_part(made, left).layers) > 1:
            with stage("one node at a time", None):
                left = _reduce(made, left, "linear")
        part, by_polygraphy = _part(made, left), names_in(left)[0]
        result = Reduction(
            schema=1,
            graph=path.name,
            nodes_before=len(whole.needed(wanted)),
            nodes=part.nodes,
            polygraphy_nodes=tuple(name for name in part.nodes if name in by_polygraphy),
            inputs=part.inputs,
            layers=tuple(sorted(made.figures(part), key=lambda figure: -figure.lost)),
            checks=len((made.folder / COUNT).read_text("utf-8").splitlines()),
        )
        if not result.layers or result.layers[0].lost < facts.lost:
            raise CheckFailed(
                f"What Polygraphy left of {path.name} does not fail by itself: "
                f"{', '.join(part.nodes[:4]) or 'no node'}. The table of layers says what each "
                "loses."
            )
        _write(folder, made, part, result)
    return result


def _wanted(
    whole: WholeGraph, graph: GraphSpec, worst: LayerFigure, differs: str
) -> tuple[str, ...]:
    """The output that differs, or all results where that does not need the worst layer."""
    if worst.leaving.node in whole.needed((differs,)):
        return (differs,)
    return tuple(spec.name for spec in graph.host_outputs)


def _part(case: ReductionCase, left: Path) -> GraphPart:
    return case.part(*names_in(left))


def _reduce(case: ReductionCase, graph: Path, mode: Literal["bisect", "linear"]) -> Path:
    """What `polygraphy debug reduce` leaves of a graph, in a file."""
    left = case.folder / f"{mode}.onnx"
    check = [sys.executable, "-m", check_module.__name__, str(case.folder), _TRIED]
    command = [sys.executable, "-c", _POLYGRAPHY, "debug", "reduce", str(graph), "-o", str(left)]
    command += ["--mode", mode, "--iter-artifact", _TRIED, "--hide-fail-output"]
    command += ["--fail-code", str(FAILS), "--check", *check]
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    done = subprocess.run(
        command,
        cwd=case.folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    error = case.folder / ERROR
    if error.is_file():
        raise CheckFailed(f"A reduced graph cannot be run: {_last(error.read_text('utf-8'))}")
    if done.returncode or not left.is_file():
        raise CheckFailed(f"polygraphy debug reduce ended: {_last(done.stdout + done.stderr)}")
    return left


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


def _write(folder: Path, case: ReductionCase, part: GraphPart, result: Reduction) -> None:
    (folder / "reduced.onnx").write_bytes(part.model.SerializeToString())
    for name, tensors in (
        ("inputs.npz", part.inputs),
        ("expected.npz", tuple(layer.tensor for layer in part.layers)),
    ):
        with zipfile.ZipFile(folder / name, "w") as archive:
            write_arrays(archive, {tensor: case.values[tensor] for tensor in tensors})
    write_document(folder / MARKER, to_plain(result))
