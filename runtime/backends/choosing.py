"""The one place that chooses what runs a step graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vidtok_edge.errors import (
    BackendUnavailable,
    BundleError,
    DeviceError,
    EngineMissing,
    MissingDependency,
    UsageError,
)
from vidtok_edge.runtime.backends.arrays import Place
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.onnxruntime_loading import load_onnxruntime
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["MOST_THREADS", "open_fastest", "open_step"]

MOST_THREADS = 1024
"""Of a call. Each takes memory and time to begin, and ONNX Runtime takes any number."""


def open_step(
    folder: Path,
    graph: GraphSpec,
    backend: Backend = Backend.ONNXRUNTIME,
    *,
    threads: int | None = None,
    to_compare: bool = False,
    outputs_on: Place = "host",
    memory: str | None = None,
) -> Step:
    """Load `graph` of the bundle in `folder` on `backend`.

    Args:
        folder: the bundle's.
        graph: what the manifest says about it.
        backend: any but `AUTO`, which is what `open_fastest` does.
        threads: CPU threads of one call; ONNX Runtime's choice where None.
        to_compare: also give what is compared with the reference, an encoder's `latent`: 20 bytes
            beside the 4 of a token, which would cross the bus on every call.
        outputs_on: where what streams read is wanted; on the device of an engine it is in
            `step.device.outputs` alone.
        memory: where the frames and tokens of an engine lie, by the name of an
            `engines.memory.Memory`; what its sidecar says where None.

    Raises:
        UsageError: no such number of threads, or memory; or `memory` for a backend that runs no
            engines.
        BackendUnavailable, MissingDependency: it cannot run here; the message has the line that
            installs it.
        BundleMismatch: the graph is not what the manifest says.
        EngineMissing, EngineStale: there is no engine that fits.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(
            f"threads is {threads}; use 1 or more, {MOST_THREADS} at most, or None for the "
            "library's choice."
        )
    if backend.target is not None:
        from vidtok_edge.runtime.backends.engines.memory import Memory
        from vidtok_edge.runtime.backends.engines.step import open_engine

        kind = None if memory is None else Memory.named(memory)
        return open_engine(folder, graph, backend.target, to_compare, outputs_on, kind)
    if memory is not None:
        raise UsageError(
            f"memory is {memory!r}, which is said of engines, and {backend} runs none. "
            "Leave it out, or run an engine: backend tensorrt."
        )
    if backend is Backend.OPENVINO:
        from vidtok_edge.runtime.backends.openvino import OpenVinoStep

        return OpenVinoStep(graph, folder / graph.file, threads, to_compare)
    try:
        load_onnxruntime()
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) or error.name != "onnxruntime":
            raise BackendUnavailable(
                f"ONNX Runtime is installed but does not load: {error}. Install it again with: "
                'pip install --upgrade --force-reinstall "vidtok-edge[ort]" (CPU) or '
                '"vidtok-edge[gpu]" (CUDA)'
            ) from None
        raise BackendUnavailable(
            f"No backend is installed to run {graph.file} ({error}). "
            'Install one with: pip install "vidtok-edge[ort]" (CPU) or "vidtok-edge[gpu]" (CUDA)'
        ) from None
    from vidtok_edge.runtime.backends.onnxruntime import OnnxRuntimeStep

    return OnnxRuntimeStep(graph, folder / graph.file, backend, threads, to_compare)


def open_fastest(opened: Callable[[Backend], Step]) -> Step:
    """An engine where one fits this GPU, else CUDA where ONNX Runtime has it, else the CPU.

    Nothing is compiled: an engine is there or is not. An engine that is there and cannot be used
    is a fallback, and `Step.info` says why; one that is not there is none.

    Args:
        opened: opens the step on a backend.
    """
    passed_over = []
    if present_gpu() is not None:
        for backend in (Backend.TENSORRT, Backend.TENSORRT_RTX):
            try:
                return opened(backend)
            except (EngineMissing, MissingDependency):
                continue
            except (BackendUnavailable, BundleError, DeviceError) as error:
                passed_over.append(f"{backend}: {error}")
    step = opened(Backend.ONNXRUNTIME)
    passed_over += [step.info.fell_back] if step.info.fell_back else []
    step.info = replace(step.info, asked=Backend.AUTO, fell_back="; ".join(passed_over))
    return step
