"""What the calls of a benchmark take at least: counted where PyTorch is installed, and held to what
the device reaches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vidtok_edge.errors import BackendUnavailable, MissingDependency, UsageError

if TYPE_CHECKING:
    from vidtok_edge.runtime.bench.candidate_result import CandidateResult
    from vidtok_edge.runtime.bench.ceilings import CallWork, Ceilings
    from vidtok_edge.runtime.bench.document import Document
    from vidtok_edge.runtime.manifest.graphs import Precision


def with_work(document: Document) -> Document:
    """`document` with the work of a call of each candidate, as far as `plan` can count it.

    In INT8 it depends on where a calibration put it, and is not counted; nor is a model of
    somebody's own.
    """
    if find_spec("torch") is None:
        return document
    counted: dict[tuple[object, ...], tuple[CallWork, ...]] = {}
    candidates = []
    for one in document.candidates:
        size = one.height, one.width, one.streams, one.chunk, one.io
        key = (one.variant, *size, one.precision, len(one.graphs))
        if key not in counted:
            counted[key] = _work_of(one)
        candidates.append(replace(one, work=counted[key]))
    return replace(document, candidates=tuple(candidates))


def with_ceilings(document: Document) -> Document:
    """`document` with what the devices of its candidates copy and multiply at most, measured now
    where there is work to compare with it. A GPU's takes a PyTorch that sees it."""
    parts = [one.figures.encoder for one in document.candidates if one.work]
    on_cpu = {part.upload_ms is None for part in parts if part is not None}
    found: list[Ceilings] = []
    if True in on_cpu:
        from vidtok_edge.runtime.bench.measuring.ceilings import cpu_ceilings

        found.append(cpu_ceilings())
    if False in on_cpu:
        from vidtok_edge.export.bench_ceilings import gpu_ceilings

        with suppress(BackendUnavailable):
            found.append(gpu_ceilings())
    return replace(document, ceilings=tuple(found))


def _work_of(one: CandidateResult) -> tuple[CallWork, ...]:
    from vidtok_edge.runtime.bench.ceilings import CallWork
    from vidtok_edge.variants import variant_by_name

    if one.precision not in ("fp32", "fp16"):
        return ()
    precision: Precision = "fp32" if one.precision == "fp32" else "fp16"
    try:
        variant = variant_by_name(one.variant)  # before PyTorch is imported, which takes seconds
        from vidtok_edge.export.planning.plan import plan_of
        from vidtok_edge.lowering.interface import KINDS
        from vidtok_edge.lowering.step import StepOptions

        options = StepOptions(
            one.height,
            one.width,
            streams=one.streams,
            chunk=one.chunk,
            form="conv2d",
            io="float" if one.io == "float" else "uint8",
        )
        kinds = KINDS[: len(one.graphs)]
        plan = plan_of(variant, options, fps=30.0, kinds=kinds, precisions=(precision,))
    except (ImportError, MissingDependency, UsageError):  # of the rest of the extra, too
        return ()
    return tuple(
        CallWork(kind=cost.kind, operations=2.0 * cost.multiply_adds, moved_bytes=float(cost.moved))
        for cost in plan.costs[precision]
    )
