"""Where two graphs part: each layer's output on both sides, given the same inputs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.comparing.decibels import decibels
from vidtok_edge.runtime.comparing.half import CallCase
from vidtok_edge.runtime.comparing.layouts import moved
from vidtok_edge.runtime.comparing.limits import LOSS, best_of_layers
from vidtok_edge.runtime.comparing.runners import marked, ran, runner
from vidtok_edge.runtime.manifest.layer_tensors import LayerTensor, leaving

__all__ = ["LayerFigure", "LayerTable", "compared_layers", "figures"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class LayerFigure:
    """One tensor that leaves a layer. Truthy where its layer lost no more than `LOSS`."""

    leaving: LayerTensor
    """As the second side's graph has it."""
    came_in: float
    """dB of the worst of what it was computed from, at most `best_of_layers`."""
    went_out: float
    """dB of it."""

    @property
    def lost(self) -> float:
        """dB that the layer lost."""
        return self.came_in - self.went_out

    def __bool__(self) -> bool:
        return self.lost <= LOSS


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTable:
    """All layers of one call, in the order of the graph."""

    figures: tuple[LayerFigure, ...]
    left_out: int
    """Tensors of the second graph that have no counterpart in the first."""
    values: Mapping[str, Array]
    """Of each tensor of the figures, what the first side has, in the second's shape and type."""

    @property
    def first(self) -> LayerFigure | None:
        """The first layer that lost too much."""
        return next((figure for figure in self.figures if not figure), None)

    @property
    def worst(self) -> tuple[LayerFigure, ...]:
        """Those that lost most first."""
        return tuple(sorted(self.figures, key=lambda figure: -figure.lost))


def compared_layers(
    case: CallCase,
    paths: tuple[Path, Path],
    backends: tuple[Backend, Backend],
    threads: int | None = None,
) -> LayerTable:
    """Run one call on both sides with what leaves each layer marked as an output.

    What a layer of the second side is given is what its own graph computed; so a fault shows in
    all that follows, and the layer that lost is the one whose inputs were still good.

    Args:
        case: what goes in.
        paths: the files of both graphs, their weights beside them.
        backends: what runs them; an engine is compiled anew, with those outputs.
        threads: CPU threads of a call.
    """
    tensors = (leaving(paths[0], case.graphs[0]), leaving(paths[1], case.graphs[1]))
    pairs = _counterparts(*tensors)
    found: dict[str, tuple[float, Array]] = {}

    def compared(first: Mapping[str, Array], second: Mapping[str, Array]) -> Any:
        for one, other in pairs:
            there = _in_second(first[one.tensor], second[other.tensor], case)
            if there is not None:
                db = decibels(_slot_0(there, case), _slot_0(second[other.tensor], case))
                found[other.tensor] = (db, there.astype(second[other.tensor].dtype))
        return OrderedDict((name, db > 0) for name, (db, _) in found.items())

    with tempfile.TemporaryDirectory(prefix="vidtok_edge_compare_") as folder:
        runners = []
        for i, feed in enumerate((case.first, case.second)):
            names = [pair[i].tensor for pair in pairs]
            path = _marked_beside(paths[i], Path(folder) / str(i), names)
            runners.append((runner(path, backends[i], str(i), threads), feed))
        ran(runners, compared)
    best = best_of_layers(*(graph.precision for graph in case.graphs))
    return LayerTable(
        figures=tuple(figures(tensors[1], {name: db for name, (db, _) in found.items()}, best)),
        left_out=len(tensors[1]) - len(found),
        values={name: value for name, (_, value) in found.items()},
    )


def figures(
    tensors: Sequence[LayerTensor], db: Mapping[str, float], best: float
) -> Iterator[LayerFigure]:
    """The figures of those of `tensors` whose dB are known; what is not known came in well."""
    for tensor in tensors:
        if tensor.tensor in db:
            came_in = min([best, *(db[source] for source in tensor.sources if source in db)])
            yield LayerFigure(tensor, came_in, db[tensor.tensor])


def _counterparts(
    first: Sequence[LayerTensor], second: Sequence[LayerTensor]
) -> list[tuple[LayerTensor, LayerTensor]]:
    """What has the same place in both graphs: layers that as many tensors leave in both."""
    counts = [Counter(tensor.layer for tensor in tensors) for tensors in (first, second)]
    by_key = {tensor.key: tensor for tensor in first}
    return [
        (by_key[tensor.key], tensor)
        for tensor in second
        if counts[0][tensor.layer] == counts[1][tensor.layer]
    ]


def _in_second(first: Array, second: Array, case: CallCase) -> Array | None:
    """The first side's tensor as the second has it; None where they cannot be compared."""
    if first.dtype.kind != second.dtype.kind or second.dtype.kind == "i":
        return None  # tokens and shapes: a token that is near is as wrong as one that is far
    one, other = case.graphs
    streams = one.inputs[0].shape[0]
    return moved(first, form=one.form, to=other.form, shape=second.shape, streams=streams)


def _slot_0(value: Array, case: CallCase) -> Array:
    """Streams lie on the first axis, or on it with the time of each."""
    streams = case.graphs[1].inputs[0].shape[0]
    return value[: len(value) // streams] if value.ndim and len(value) % streams == 0 else value


def _marked_beside(path: Path, folder: Path, tensors: Sequence[str]) -> Path:
    """A copy of the graph with `tensors` as outputs, in `folder`, its weights beside it."""
    folder.mkdir()
    target = folder / path.name
    target.write_bytes(marked(path, tensors))
    data = path.with_name(f"{path.name}.data")
    if data.is_file():
        try:
            os.link(data, folder / data.name)
        except OSError:  # another disk, or one without links
            shutil.copyfile(data, folder / data.name)
    return target
