"""Which engine is kept where several could do: the one that is faster on this GPU.

Unverified on hardware. Forms compute the same, so the faster one is kept; INT8 costs quality, so it
is kept only where it is faster than FP16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building.build import (
    BuildRequest,
    EnginePlan,
    PlannedEngine,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.backends.engines.building.files import drop_engine, write_sidecar
from vidtok_edge.runtime.backends.engines.sidecar import SlowerEngine, read_sidecar
from vidtok_edge.runtime.backends.engines.step import open_engine
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.progress import Stage, no_stage

__all__ = ["Choice", "Measured", "build_fastest", "choose", "plan_forms"]

ROUNDS = 30
_CALLS = 10
"""Of each engine in a round."""

Opened = Callable[[Path, GraphSpec, Target], Step]


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine and how long its calls take."""

    engine: PlannedEngine
    step_ms: float
    """Median over rounds of the mean call, copies included."""

    def __str__(self) -> str:
        graph = self.engine.graph
        return f"{graph.precision} {graph.form} {self.step_ms:.2f} ms"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that is kept, and those of the same kind that it beat."""

    kept: Measured
    slower: tuple[Measured, ...]


def plan_forms(request: BuildRequest) -> list[EnginePlan]:
    """The plans of `plan_engines` for every form of a bundle; writes nothing.

    Raises:
        UsageError: there is nothing to choose from, or the GPU to measure on is not this one.
        What `plan_engines` raises.
    """
    bundle = Bundle.load(request.bundle)
    forms = (bundle, *bundle.other_forms())
    plans = [plan_engines(replace(request, bundle=form.path)) for form in forms]
    gpus = {engine.host.gpu for plan in plans for engine in plan.engines}
    present = present_gpu()
    if present is None or gpus != {present.architecture}:
        here = "no GPU is present" if present is None else f"this one is {present.architecture}"
        raise UsageError(
            f"--form auto measures engines on the GPU that will run them: for "
            f"{', '.join(sorted(gpus))}, but {here}. Run it on that machine, or leave out --form."
        )
    precisions = {engine.graph.precision for plan in plans for engine in plan.engines}
    if len(plans) == 1 and not {"fp16", "int8"} <= precisions:
        raise UsageError(
            f"{request.bundle} has one form, {plans[0].engines[0].graph.form}, and no INT8 to "
            "compare with FP16: nothing to choose from. Export it with --form conv2d,conv3d."
        )
    return plans


def build_fastest(
    plans: Sequence[EnginePlan], stage: Stage = no_stage, opened: Opened = open_engine
) -> list[Choice]:
    """Build every engine of `plans`, measure them beside each other, keep the fastest.

    Args:
        plans: of `plan_forms`.
        stage: called around each build and each measurement, for progress.
        opened: opens an engine of a bundle's folder.

    Returns:
        The engines that were kept, one per kind and precision; their sidecars say how long a call
        takes and which engines were slower. The slower ones are removed.
    """
    for plan in plans:
        build_engines(plan, stage)
    choices = []
    engines = [(plan.bundle, engine) for plan in plans for engine in plan.engines]
    for kind in ("encoder", "decoder"):
        rivals = [(b, engine) for b, engine in engines if engine.graph.kind == kind]
        with stage(f"measuring {kind}s", None):
            choices += choose(_measured(rivals, opened))
    for choice in choices:
        _record(choice)
    return choices


def choose(measured: Sequence[Measured]) -> list[Choice]:
    """What is kept of engines of one kind: of each precision the fastest form, and INT8 only where
    it is faster than FP16, which then counts it among what it beat."""
    by_precision: dict[str, list[Measured]] = {}
    for one in sorted(measured, key=lambda one: one.step_ms):
        by_precision.setdefault(one.engine.graph.precision, []).append(one)
    choices = {
        precision: Choice(forms[0], tuple(forms[1:])) for precision, forms in by_precision.items()
    }
    int8, fp16 = choices.get("int8"), choices.get("fp16")
    if int8 and fp16 and int8.kept.step_ms >= fp16.kept.step_ms:
        del choices["int8"]
        slower = (*fp16.slower, int8.kept, *int8.slower)
        choices["fp16"] = replace(fp16, slower=slower)
    return list(choices.values())


def _measured(rivals: Sequence[tuple[Bundle, PlannedEngine]], opened: Opened) -> list[Measured]:
    """Every engine in turn, round after round, so that clocks and heat are the same for all."""
    with ExitStack() as stack:
        steps = [
            stack.enter_context(opened(bundle.path, engine.graph, engine.host.target))
            for bundle, engine in rivals
        ]
        means: Mapping[int, list[float]] = {i: [] for i in range(len(steps))}
        for round_ in range(ROUNDS + 1):
            for i, step in enumerate(steps):
                start = time.perf_counter()
                for _ in range(_CALLS):
                    step.run()
                if round_:  # the first one warms up
                    means[i].append(1000 * (time.perf_counter() - start) / _CALLS)
    return [Measured(engine, median(means[i])) for i, (_, engine) in enumerate(rivals)]


def _record(choice: Choice) -> None:
    """Write what was measured into the sidecar that is kept; remove what was slower."""
    kept = choice.kept
    for one in choice.slower:
        drop_engine(one.engine.path)
    slower = tuple(
        SlowerEngine(one.engine.graph.precision, one.engine.graph.form, round(one.step_ms, 4))
        for one in choice.slower
    )
    sidecar = read_sidecar(kept.engine.path)
    step_ms = round(kept.step_ms, 4)
    write_sidecar(kept.engine.path, replace(sidecar, step_ms=step_ms, slower=slower))
