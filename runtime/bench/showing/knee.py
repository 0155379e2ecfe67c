"""The knee: how many cameras a machine keeps up with."""

from __future__ import annotations

from collections import defaultdict

from vidtok_edge.runtime.bench.document import CandidateResult, Document

__all__ = ["knees_of"]


def knees_of(document: Document) -> list[str]:
    """A sentence for each way to run a bundle that was measured with several numbers of cameras.

    A number counts where it and all smaller ones missed no deadline and lost no frame. Nothing for
    runs that were not paced: they have no deadline to miss.
    """
    if document.settings.pace.fps is None:
        return []
    ways: defaultdict[str, list[CandidateResult]] = defaultdict(list)
    for one in document.candidates:
        if one.cameras is not None:
            ways[one.name.removesuffix(f" {one.cameras} camera(s)")].append(one)
    fps = document.settings.pace.fps
    return [_knee(name, results, fps) for name, results in ways.items() if len(results) > 1]


def _knee(name: str, results: list[CandidateResult], fps: float) -> str:
    rising = sorted(results, key=lambda one: one.cameras or 0)
    kept = 0
    for one in rising:
        if not one.figures.keeps_up:
            latency = one.figures.latency
            lost = one.figures.dropped + one.figures.unfinished
            why = f"{one.cameras} missed {latency.misses} of {latency.n} deadlines"
            why += f" and lost {lost} frames" if lost else ""
            return f"{name}: {kept} camera(s) at {fps:g} frames/s without a miss; {why}."
        kept = one.cameras or 0
    return f"{name}: {kept} camera(s) at {fps:g} frames/s without a miss, the most that were tried."
