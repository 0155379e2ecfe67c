"""The knee: how many cameras one batch holds before a deadline is missed."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.runtime.bench.candidate_result import CandidateResult
from vidtok_edge.runtime.bench.document import Document

__all__ = ["Knee", "knees_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """Candidates of a paced run that differ in nothing but how many cameras are in a batch."""

    name: str
    one: CandidateResult
    """The first of them."""
    kept_up: tuple[int, ...]
    """Numbers of cameras that were followed without a missed deadline, rising."""
    missed: tuple[int, ...]
    """Those that were not, rising."""

    @property
    def most(self) -> int | None:
        """The most cameras below the first number that missed; None where every number missed."""
        limit = min(self.missed, default=None)
        below = [n for n in self.kept_up if limit is None or n < limit]
        return max(below, default=None)


def knees_of(document: Document) -> list[Knee]:
    """One for each way to run a model that was measured with several numbers of cameras.

    None of a saturated run, which has no deadlines that a camera sets.
    """
    if document.settings.pace.fps is None:
        return []
    groups: dict[tuple[object, ...], dict[int, bool]] = {}
    first: dict[tuple[object, ...], CandidateResult] = {}
    for one in document.candidates:
        key = _alike(one)
        first.setdefault(key, one)
        kept = groups.setdefault(key, {})
        kept[one.streams] = kept.get(one.streams, True) and one.figures.keeps_up
    return [
        Knee(
            name=_name(first[key]),
            one=first[key],
            kept_up=tuple(sorted(n for n, kept in found.items() if kept)),
            missed=tuple(sorted(n for n, kept in found.items() if not kept)),
        )
        for key, found in groups.items()
        if len(found) > 1
    ]


def _alike(one: CandidateResult) -> tuple[object, ...]:
    """Everything that must be equal: all but the number of streams."""
    graph = one.graphs[0]
    model = (one.variant, one.weights.sha256, one.height, one.width, one.chunk, one.io)
    run_by = (one.backend, one.compile_mode, one.precision, one.threads)
    return (*model, *run_by, graph.name, graph.form)


def _name(one: CandidateResult) -> str:
    threads = f", {one.threads} thread(s)" if one.threads else ""
    backend = f"{one.backend} {one.compile_mode}".strip()
    size, form = f"{one.height}x{one.width}", one.graphs[0].form
    return f"{one.variant} {size} {backend} {one.precision} {form}{threads}"
