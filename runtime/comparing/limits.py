"""How far apart two sides may be: each as far from the reference as `prove` lets it be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vidtok_edge.errors import GoldenStreamError
from vidtok_edge.runtime.comparing.decibels import added
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Precision
from vidtok_edge.runtime.proving.comparing import Limit, Metric, limit_of
from vidtok_edge.runtime.proving.golden import GoldenStream

__all__ = ["LOSS", "best_of_layers", "least_inside", "least_of_results"]

LOSS = 20.0
"""dB that a layer may lose of what comes into it before it is named."""
_INSIDE: Mapping[Precision, float] = {"fp32": 70.0, "fp16": 30.0, "int8": 8.0}
_OWN: Mapping[Precision, float] = {"fp32": 110.0, "fp16": 55.0, "int8": 32.0}


def least_inside(*precisions: Precision) -> float:
    """dB that caches and latents of two sides must have of one another (docs/compare.md)."""
    return added(_INSIDE[precision] for precision in precisions)


def best_of_layers(*precisions: Precision) -> float:
    """dB that a layer's output of the coarsest of `precisions` has at best, about.

    What comes in better than that is as good: no layer is blamed for the first rounding.
    """
    return min(_OWN[precision] for precision in precisions)


def least_of_results(
    metric: Metric, golden: GoldenStream, graphs: Sequence[GraphSpec], tokens: int
) -> float:
    """Share of equal tokens, or dB of pictures or latents, that two sides must have.

    Args:
        metric: what is compared.
        golden: the stream; it knows what each precision gave at the export.
        graphs: that ran.
        tokens: how many are compared in all.
    """
    limits = [_limit(metric, golden, graph) for graph in graphs]
    if metric == "dB":
        return added(limit.least for limit in limits)
    few = sum(limit.tokens_differ for limit in limits) / tokens
    return 1 - max(sum(1 - limit.least for limit in limits), few)


def _limit(metric: Metric, golden: GoldenStream, graph: GraphSpec) -> Limit:
    if graph.precision == "fp32":
        return limit_of("fp32", metric, ())
    given = golden.given(graph)
    if given is None:
        raise GoldenStreamError(
            f"The golden stream does not say what {graph.precision} gave at the export. Export the "
            "bundle again, or calibrate it again."
        )
    return limit_of(
        graph.precision, metric, given.encoder if graph.kind == "encoder" else given.decoder
    )
