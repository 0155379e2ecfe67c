"""Which memory the frames and tokens of an engine lie in: the fastest here that gives the same.

On a GPU that shares its memory with the CPU each kind of memory is cached otherwise, so it is
measured, with the golden stream for its frames. Unverified on hardware: no such GPU was at hand.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

from vidtok_edge.errors import EngineMissing, EngineStale
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.cuda import load_cuda
from vidtok_edge.runtime.backends.engines.memory import Memory, require_memory, served
from vidtok_edge.runtime.backends.engines.sidecar import (
    EngineSidecar,
    MemoryTime,
    memory_told,
    read_sidecar,
    write_sidecar,
)
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.progress import Stage, no_stage
from vidtok_edge.runtime.proving.golden import GoldenStream
from vidtok_edge.runtime.proving.prove import engine_files, golden_items
from vidtok_edge.runtime.proving.running import decoded, encoded

__all__ = ["AUTO", "MemoryChoice", "check_asked", "choose_memory"]

AUTO = "auto"
"""Asks for the fastest."""
_SECONDS, _LEAST, _MOST = 2.0, 10, 200
"""How long calls are timed, and how many of them, each time."""


@dataclass(frozen=True, slots=True)
class MemoryChoice:
    """What is recorded in the sidecar of an engine."""

    memory: Memory
    times: tuple[MemoryTime, ...]
    """Of the kinds that were measured; empty where one was asked for."""

    def __str__(self) -> str:
        return memory_told(self.memory, self.times)


def check_asked(target: Target, asked: str) -> None:
    """Refuse what `choose_memory` would refuse, before an engine is built.

    Raises UsageError, BackendUnavailable, MissingDependency and DeviceError.
    """
    cuda = load_cuda(target)
    if asked != AUTO:
        require_memory(Memory.named(asked), cuda)


def choose_memory(
    bundle: Bundle,
    kind: Kind,
    target: Target,
    precision: str,
    asked: str | None = None,
    stage: Stage = no_stage,
) -> MemoryChoice | None:
    """Record where the frames and tokens of an engine lie; a stream may still ask for another.

    Args:
        bundle: as loaded.
        kind, target, precision: which engine; it lies here and is for this GPU.
        asked: `auto`: of the kinds that this GPU can serve the fastest that gives what memory of
            the device gives. Or a kind, which is taken without a measurement. None: as `auto` where
            GPU and CPU share one memory and nothing was recorded yet, else nothing.
        stage: called around a measurement, for progress.

    Returns:
        What was recorded, or None.

    Raises:
        UsageError, BackendUnavailable: there is no such memory, or not on this GPU.
        GoldenStreamError: there is no golden stream to measure with.
        BundleError, MissingFromEnvironment: as `Bundle.step` does; also while it runs.
        OutputNotWritable: the sidecar cannot be written.
    """
    cuda = load_cuda(target)
    path, sidecar = _engine(bundle, kind, target, precision)
    if asked is None and (sidecar.memory is not None or not cuda.attribute("Integrated")):
        return None
    if asked in (None, AUTO):
        with stage(f"{path.stem}, memory", None):
            times = _measured(bundle, kind, target, precision, served(cuda))
        memory = min((it for it in times if not it.fault), key=lambda it: it.call_ms).memory
        write_sidecar(path, replace(sidecar, memory=memory, memories=times))
        return MemoryChoice(memory, times)
    memory = Memory.named(asked)
    require_memory(memory, cuda)
    write_sidecar(path, replace(sidecar, memory=memory))
    return MemoryChoice(memory, ())


def _engine(
    bundle: Bundle, kind: Kind, target: Target, precision: str
) -> tuple[Path, EngineSidecar]:
    """The engine that `Bundle.step` opens, and its sidecar, which that checks."""
    for graph, path in engine_files(bundle, target):
        if (graph.kind, graph.precision) == (kind, precision):
            return path, _sidecar(path)
    raise EngineMissing(
        f"{bundle.path} has no {kind} engine in {precision} for this GPU. Build it with: "
        f"vidtok-edge build {bundle.path} --target {target} --precision {precision}"
    )


def _sidecar(engine: Path) -> EngineSidecar:
    try:
        return read_sidecar(engine)
    except (OSError, ValueError) as error:
        raise EngineStale(
            f"{engine} cannot be used: its sidecar: {error}. Build it again with --rebuild."
        ) from None


def _measured(
    bundle: Bundle, kind: Kind, target: Target, precision: str, memories: Sequence[Memory]
) -> tuple[MemoryTime, ...]:
    """Of each kind; the first of them is memory of the device, which the others are held to.

    One after another, for a small board has no room for several engines, and once more in the other
    order: what grows slower as it grows hot is then no fault of the last one.
    """
    items = golden_items(GoldenStream.load(bundle.path, bundle.manifest), kind)
    streamed = encoded if kind == "encoder" else decoded
    times: dict[Memory, list[float]] = {memory: [] for memory in memories}
    given: dict[Memory, list[object]] = {memory: [] for memory in memories}
    for memory in (*memories, *reversed(memories)):
        with bundle.step(kind, target, precision, memory=memory) as step:
            run = streamed(bundle.manifest, step, items)
            given[memory].append((run.digests, run.again))
            times[memory].append(_call_ms(step))
    return tuple(
        MemoryTime(
            memory=memory,
            call_ms=round(mean(times[memory]), 4),
            fault=""
            if given[memory] == given[memories[0]]
            else f"other results than {memories[0]} memory",
        )
        for memory in memories
    )


def _call_ms(step: Step) -> float:
    """Median of calls as a stream makes them, with what the host writes and reads."""
    values = {name: array.copy() for name, array in step.inputs.items()}
    taken: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(taken) < _MOST and (len(taken) < _LEAST or time.perf_counter() < end):
        start = time.perf_counter()
        for name, array in step.inputs.items():
            array[...] = values[name]
        step.run()
        for output in step.outputs.values():
            output.copy()
        taken.append(1000 * (time.perf_counter() - start))
    return median(taken)
