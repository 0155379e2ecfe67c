"""Which cache of one graph is which of the other, and both as real numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.comparing.grids import Grid, cache_grids
from vidtok_edge.runtime.comparing.layouts import from_home, moved
from vidtok_edge.runtime.manifest.graphs import CALL_BEFORE, GraphSpec, TensorSpec

__all__ = ["CachePair", "cache_pairs"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Half:
    """A cache of one graph."""

    spec: TensorSpec
    new: str
    """The output that it comes out of."""
    grid: Grid
    graph: GraphSpec

    @property
    def streams(self) -> int:
        return self.spec.shape[0]


@dataclass(frozen=True, slots=True)
class CachePair:
    """The past of one layer on both sides."""

    layer: str
    first: _Half
    second: _Half

    def real(self, first: Mapping[str, Array], second: Mapping[str, Array]) -> tuple[Array, Array]:
        """Slot 0 of both, [T, C, H, W] or what there is, as real numbers.

        Args:
            first, second: the caches of each side by input name.
        """
        one, other = (
            # Of slot 0 alone: what lies in others may be no numbers.
            from_home(half.grid.real(caches[half.spec.name][:1]), half.graph.form, 1)[0]
            for half, caches in ((self.first, first), (self.second, second))
        )
        return one, other

    def for_second(self, first: Mapping[str, Array]) -> Array:
        """The first side's cache as the second side holds it; ValueError where it cannot."""
        value = self.first.grid.real(first[self.first.spec.name])
        there = moved(
            value,
            form=self.first.graph.form,
            to=self.second.graph.form,
            shape=self.second.spec.shape,
            streams=self.second.streams,
        )
        if there is None:
            raise ValueError(f"the caches of {self.layer} have other shapes")
        return np.ascontiguousarray(self.second.grid.stored(there, self.second.spec.dtype))


def cache_pairs(
    first: GraphSpec, first_path: Path, second: GraphSpec, second_path: Path
) -> tuple[CachePair, ...]:
    """The caches that both graphs have, in the order of the first; flags are none.

    A cache is known by the layer whose past it is; where a bundle does not say, by its number.
    Those that cannot be compared are left out: other shapes, or integers of an unknown scale.
    """
    others = _halves(second, second_path)
    pairs = []
    for key, half in _halves(first, first_path).items():
        other = others.get(key)
        if other is not None and _comparable(half, other):
            pairs.append(CachePair(key[0], half, other))
    return tuple(pairs)


def _halves(graph: GraphSpec, path: Path) -> dict[tuple[str, int], _Half]:
    grids = cache_grids(path, graph)
    layers = graph.cache_layers or tuple(old.name for old, _ in graph.caches)
    counted: Counter[str] = Counter()
    found = {}
    for layer, (old, new) in zip(layers, graph.caches, strict=True):
        counted[layer] += 1
        grid = grids[old.name]
        if layer != CALL_BEFORE and grid is not None:
            found[layer, counted[layer]] = _Half(old, new.name, grid, graph)
    return found


def _comparable(one: _Half, other: _Half) -> bool:
    shapes = [
        from_home(np.empty(half.spec.shape, np.bool_), half.graph.form, half.streams).shape
        for half in (one, other)
    ]
    return shapes[0] == shapes[1]
