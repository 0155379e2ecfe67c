"""Which engine is kept where several could do: the fastest on this GPU of those that are right.

Unverified on hardware. Forms compute the same but for rounding, which TensorRT's kernels decide: on
an H200 an FP16 engine of `conv3d` lost more tokens than one of `conv2d`. So each engine streams its
part of the golden stream, and one that does not pass is kept only where no other of its precision
does. Where none does, they are built again with sums in float32, which is what FP16 lost there.
INT8 costs quality, so it is kept only where it is faster than FP16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from vidtok_edge.errors import EngineRefused, UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building.build import (
    BuildRequest,
    EnginePlan,
    PlannedEngine,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.backends.engines.building.files import drop_engine
from vidtok_edge.runtime.backends.engines.sidecar import (
    OtherEngine,
    read_sidecar,
    write_sidecar,
)
from vidtok_edge.runtime.backends.engines.step import open_engine
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import KINDS, GraphSpec
from vidtok_edge.runtime.progress import Stage, no_stage

__all__ = ["Choice", "Faults", "Measured", "build_fastest", "choose", "plan_forms"]

ROUNDS = 30
_CALLS = 10
"""Of each engine in a round."""

Opened = Callable[[Path, GraphSpec, Target], Step]
Faults = Callable[[Bundle, PlannedEngine], str]
"""What an engine of a bundle gives wrong, first of all; an empty text where nothing."""
Rivals = Sequence[tuple[EnginePlan, PlannedEngine]]
"""Engines of one kind, each with the plan that it is of."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine and how long its calls take."""

    engine: PlannedEngine
    step_ms: float
    """Median over rounds of the mean call, copies included."""
    fault: str = ""
    """What it gives wrong, first of all; empty where it passed, or nobody looked."""
    float32_sums: bool = False
    """Whether its FP16 convolutions sum in float32."""

    @property
    def rank(self) -> tuple[bool, float]:
        """The least one is kept: those that pass before those that do not, then the fastest."""
        return bool(self.fault), self.step_ms

    def __str__(self) -> str:
        graph = self.engine.graph
        sums = ", sums in float32" if self.float32_sums else ""
        failed = f", does not pass ({self.fault})" if self.fault else ""
        return f"{graph.precision} {graph.form} {self.step_ms:.2f} ms{sums}{failed}"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that is kept, and those of the same kind that it was kept before."""

    kept: Measured
    others: tuple[Measured, ...]


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
    plans: Sequence[EnginePlan],
    stage: Stage = no_stage,
    opened: Opened = open_engine,
    fault_of: Faults = lambda bundle, engine: "",
) -> list[Choice]:
    """Build every engine of `plans`, measure them beside each other, keep the fastest that pass.

    Args:
        plans: of `plan_forms`.
        stage: called around each build and each measurement, for progress.
        opened: opens an engine of a bundle's folder.
        fault_of: holds an engine that was built to the golden stream.

    Returns:
        The engines that were kept, one per kind and precision; their sidecars say how long a call
        takes and which engines were passed over. Those are removed.
    """
    for plan in plans:
        build_engines(plan, stage)
    choices = []
    for kind in KINDS:
        rivals = [(plan, it) for plan in plans for it in plan.engines if it.graph.kind == kind]
        choices += _chosen(rivals, stage, opened, fault_of)
    for choice in choices:
        _record(choice)
    return choices


def choose(measured: Sequence[Measured]) -> list[Choice]:
    """What is kept of engines of one kind: of each precision the fastest form that passes, and INT8
    only where that is before FP16, which then counts it among the others."""
    by_precision: dict[str, list[Measured]] = {}
    for one in sorted(measured, key=lambda one: one.rank):
        by_precision.setdefault(one.engine.graph.precision, []).append(one)
    choices = {
        precision: Choice(forms[0], tuple(forms[1:])) for precision, forms in by_precision.items()
    }
    int8, fp16 = choices.get("int8"), choices.get("fp16")
    if int8 and fp16 and int8.kept.rank >= fp16.kept.rank:
        del choices["int8"]
        others = (*fp16.others, int8.kept, *int8.others)
        choices["fp16"] = replace(fp16, others=others)
    return list(choices.values())


def _judged(rivals: Rivals, stage: Stage, opened: Opened, fault_of: Faults) -> list[Measured]:
    """How long each takes, in what it sums, and what it gives wrong."""
    kind = rivals[0][1].graph.kind
    with stage(f"measuring {kind}s", None):
        measured = _measured([(plan.bundle, engine) for plan, engine in rivals], opened)
    with stage(f"comparing {kind}s with the reference", None):
        faults = [fault_of(plan.bundle, engine) for plan, engine in rivals]
    return [
        replace(one, fault=fault, float32_sums=read_sidecar(one.engine.path).float32_sums)
        for one, fault in zip(measured, faults, strict=True)
    ]


def _chosen(rivals: Rivals, stage: Stage, opened: Opened, fault_of: Faults) -> list[Choice]:
    """What is kept of engines of one kind, some perhaps built again to sum in float32."""
    judged = _judged(rivals, stage, opened, fault_of)
    refused = _summed_in_float32([it for it in rivals if _may_pass(it[1], judged)], stage)
    again = [it for it in rivals if refused.get(it[1].path) == ""]
    if not again:
        return choose([_with_fault(one, refused) for one in judged])
    gone = {engine.path for _, engine in again}
    left = [_with_fault(one, refused) for one in judged if one.engine.path not in gone]
    replaced = [one for one in judged if one.engine.path in gone]
    found = choose([*left, *_judged(again, stage, opened, fault_of)])
    return [_with_others(choice, replaced) for choice in found]


def _may_pass(engine: PlannedEngine, judged: Sequence[Measured]) -> bool:
    """Whether sums in float32 may help: it has none yet, and nothing of its precision passes."""
    rivals = [one for one in judged if one.engine.graph.precision == engine.graph.precision]
    wide = any(one.float32_sums for one in rivals if one.engine is engine)
    return engine.graph.precision != "fp32" and not wide and all(one.fault for one in rivals)


def _summed_in_float32(rivals: Rivals, stage: Stage) -> dict[Path, str]:
    """Build engines anew, with sums in float32, in the place of those that are there.

    Returns:
        For the path of each an empty text or, where that one stays, why TensorRT refused.
    """
    refused = {}
    for plan, engine in rivals:
        options = replace(plan.request.options, float32_sums=True)
        again = replace(engine, why="nothing of its precision passes")
        request = replace(plan.request, options=options)
        try:
            build_engines(replace(plan, request=request, engines=(again,)), stage)
            refused[engine.path] = ""
        except EngineRefused as error:
            refused[engine.path] = f"; with sums in float32: {error}"
    return refused


def _with_fault(one: Measured, more: Mapping[Path, str]) -> Measured:
    return replace(one, fault=one.fault + more.get(one.engine.path, ""))


def _with_others(choice: Choice, replaced: Sequence[Measured]) -> Choice:
    """`choice`, kept also before those of its precision that were built anew."""
    precision = choice.kept.engine.graph.precision
    others = [one for one in replaced if one.engine.graph.precision == precision]
    return replace(choice, others=(*choice.others, *others))


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
    """Write what was measured into the sidecar that is kept; remove what was passed over."""
    for path in {one.engine.path for one in choice.others} - {choice.kept.engine.path}:
        drop_engine(path)
    others = [
        OtherEngine(
            precision=one.engine.graph.precision,
            form=one.engine.graph.form,
            step_ms=round(one.step_ms, 4),
            fault=one.fault,
            float32_sums=one.float32_sums,
        )
        for one in choice.others
    ]
    sidecar = read_sidecar(choice.kept.engine.path)
    sidecar = replace(
        sidecar,
        step_ms=round(choice.kept.step_ms, 4),
        slower=tuple(one for one in others if not one.fault),
        faulty=tuple(one for one in others if one.fault),
    )
    write_sidecar(choice.kept.engine.path, sidecar)
