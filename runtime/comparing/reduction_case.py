"""What the check of a reduction needs, in a folder: the graph, the other side's values, a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.comparing.decibels import decibels
from vidtok_edge.runtime.comparing.layers import LayerFigure, figures
from vidtok_edge.runtime.comparing.part import GraphPart, WholeGraph
from vidtok_edge.runtime.comparing.runners import runner, silent
from vidtok_edge.runtime.manifest.documents import DocumentKind, write_document
from vidtok_edge.runtime.manifest.layer_tensors import LayerTensor
from vidtok_edge.runtime.manifest.plain import to_plain

__all__ = ["CaseFacts", "ReductionCase"]

Array = NDArray[Any]

_FACTS, _GRAPH, _VALUES = "case.json", "graph.onnx", "values"
_DOCUMENT = DocumentKind(schema=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts:
    """The facts of a case."""

    schema: int
    backend: Backend
    """What runs the graph."""
    threads: int | None
    streams: int
    best: float
    """dB at which what comes into a layer counts as good (`best_of_layers`)."""
    lost: float
    """dB: a part in which no layer loses as much is not what is looked for."""
    tensors: tuple[str, ...]
    """Of which the other side's values are there."""
    leaving: tuple[LayerTensor, ...]
    """What leaves the layers of the graph."""


class ReductionCase:
    """A case, made or found in a folder. Values are read one by one: all of them may be gigabytes.

    Args:
        folder: where its files lie.
        facts: of it.
    """

    def __init__(self, folder: Path, facts: CaseFacts) -> None:
        self.folder, self.facts = folder, facts
        self.values = _Values(folder / _VALUES, facts.tensors)
        self.graph = WholeGraph(folder / _GRAPH, facts.leaving)

    @property
    def path(self) -> Path:
        """The file of the graph, its weights inside."""
        return self.folder / _GRAPH

    @classmethod
    def make(
        cls, folder: Path, facts: CaseFacts, graph: bytes, values: Mapping[str, Array]
    ) -> ReductionCase:
        """Write one into `folder`, which is there."""
        (folder / _GRAPH).write_bytes(graph)
        (folder / _VALUES).mkdir()
        for number, name in enumerate(facts.tensors):
            np.save(folder / _VALUES / f"{number}.npy", values[name])
        write_document(folder / _FACTS, to_plain(facts))
        return cls(folder, facts)

    @classmethod
    def load(cls, folder: Path) -> ReductionCase:
        """The one in `folder`."""
        return cls(folder, _DOCUMENT.load(CaseFacts, folder / _FACTS))

    def part(self, nodes: set[str], wanted: list[str]) -> GraphPart:
        """What of those nodes `wanted` needs, as `WholeGraph.part` takes it."""
        return self.graph.part(nodes, wanted, self.values)

    def figures(self, part: GraphPart) -> list[LayerFigure]:
        """What each layer of `part` loses, given the other side's values."""
        if not part.layers:
            return []
        path = self.folder / "part.onnx"
        path.write_bytes(part.model.SerializeToString())
        feed = {name: self.values[name] for name in part.inputs}
        with silent(), runner(path, self.facts.backend, "part", self.facts.threads) as active:
            got = active.infer(feed)
        db = {
            name: decibels(self._slot_0(self.values[name]), self._slot_0(value))
            for name, value in got.items()
            if name in self.values
        }
        return list(figures(part.layers, db, self.facts.best))

    def fails(self, part: GraphPart) -> bool:
        """Whether a layer of `part` loses what is looked for."""
        return any(figure.lost >= self.facts.lost for figure in self.figures(part))

    def _slot_0(self, value: Array) -> Array:
        streams = self.facts.streams
        return value[: len(value) // streams] if value.ndim and len(value) else value


class _Values(Mapping[str, Array]):
    """Arrays in files, by the name of their tensor."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._files = {name: folder / f"{number}.npy" for number, name in enumerate(names)}

    def __getitem__(self, name: str) -> Array:
        array: Array = np.load(self._files[name], mmap_mode="r", allow_pickle=False)
        return array

    def __iter__(self) -> Any:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files
