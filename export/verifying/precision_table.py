"""Precisions side by side: size, cache memory, speed and quality."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from vidtok_edge.export.verifying.loss import Loss
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import Placement

__all__ = ["PrecisionRow", "precision_rows"]

_ROUNDS = 3
_SETTLE_S = 0.05  # the idle threads of the session before spin for a while


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstClips:
    """The worst figure of any clip, and which.

    Attributes:
        tokens: least share of equal tokens; None for KL.
        psnr: most dB of PSNR lost against the source.
        ssim: most SSIM lost against the source.
    """

    tokens: tuple[float, str] | None
    psnr: tuple[float, str]
    ssim: tuple[float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRow:
    """One pair of graphs.

    Attributes:
        graphs: `fp32`, `int8`, ...
        file_bytes: of both graphs with their weights.
        cache_bytes: of one set of caches, both graphs, all slots.
        encode_ms, decode_ms: median time of a step; None for graphs that are placed for a backend
            which is not here.
        losses: on each clip of the verification.
    """

    graphs: str
    file_bytes: int
    cache_bytes: int
    encode_ms: float | None
    decode_ms: float | None
    losses: tuple[Loss, ...]

    @property
    def worst(self) -> WorstClips:
        """The worst of each figure, and the clip."""
        tokens = [(v, loss.clip) for loss in self.losses if (v := loss.tokens_equal) is not None]
        return WorstClips(
            tokens=min(tokens, default=None),
            psnr=max((loss.loss_db, loss.clip) for loss in self.losses),
            ssim=max((loss.ssim_loss, loss.clip) for loss in self.losses),
        )


def precision_rows(bundle: Bundle, report: ParityReport) -> list[PrecisionRow]:
    """A row for each pair of graphs; the steps are timed in turn, on the backend `auto` takes."""
    times = _step_times(bundle)
    rows = []
    for name in dict.fromkeys(g.name.partition(".")[2] for g in bundle.manifest.graphs):
        graphs = [g for g in bundle.manifest.graphs if g.name.partition(".")[2] == name]
        files = [bundle.path / f for g in graphs for f in (g.file, g.data_file)]
        rows.append(
            PrecisionRow(
                graphs=name,
                file_bytes=sum(file.stat().st_size for file in files),
                cache_bytes=sum(graph.cache_bytes for graph in graphs),
                encode_ms=times.get(f"encoder.{name}"),
                decode_ms=times.get(f"decoder.{name}"),
                losses=tuple(loss for loss in report.losses if loss.graphs == name),
            )
        )
    return rows


def _step_times(bundle: Bundle) -> dict[str, float]:
    """Milliseconds of a step of each graph, by its name; inputs are zeros."""
    times: dict[str, list[float]] = {}
    for kind in KINDS:
        graphs = [
            g
            for g in bundle.manifest.graphs
            if g.kind == kind and g.placement != Placement.TENSORRT
        ]
        with ExitStack() as stack:
            steps = [stack.enter_context(open_step(bundle.path, graph)) for graph in graphs]
            for number in range(_ROUNDS + 1):  # the first warms up
                for graph, step in zip(graphs, steps, strict=True):
                    time.sleep(_SETTLE_S)
                    seconds = _seconds(step)
                    if number:
                        times.setdefault(graph.name, []).append(1000 * seconds)
    return {name: median(values) for name, values in times.items()}


def _seconds(step: Step) -> float:
    if "start" in step.inputs:
        step.inputs["start"][:] = True
    start = time.perf_counter()
    step.run()
    return time.perf_counter() - start
