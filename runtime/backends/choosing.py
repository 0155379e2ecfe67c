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
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["BACKENDS", "open_fastest", "open_step"]


BACKENDS = ("cpu", "cuda", "tensorrt", "tensorrt-rtx")
"""What can be asked for by name: two of ONNX Runtime, and the engines of `vidtok-edge build`."""


def open_step(
    folder: Path,
    graph: GraphSpec,
    backend: str = "onnxruntime",
    *,
    threads: int | None = None,
    to_compare: bool = False,
) -> Step:
    """Load `graph` of the bundle in `folder` on `backend`.

    Args:
        folder: the bundle's.
        graph: what the manifest says about it.
        backend: one of `BACKENDS`, or `onnxruntime`: CUDA where it has it, else the CPU.
        threads: CPU threads of one call; ONNX Runtime's choice where None.
        to_compare: also give what is compared with the reference, an encoder's `latent`: 20 bytes
            beside the 4 of a token, which would cross the bus on every call.

    Raises:
        UsageError: no backend of that name, or no such number of threads.
        BackendUnavailable, MissingDependency: it cannot run here; the message has the line that
            installs it.
        BundleMismatch: the graph is not what the manifest says.
        EngineMissing, EngineStale: there is no engine that fits.
    """
    if backend not in (*BACKENDS, "onnxruntime"):
        raise UsageError(f"There is no backend {backend!r}; use auto, {', '.join(BACKENDS)}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; use 1 or more, or None for ONNX Runtime's choice.")
    if backend.startswith("tensorrt"):
        from vidtok_edge.runtime.backends.engines.sidecar import Target
        from vidtok_edge.runtime.backends.engines.step import open_engine

        target: Target = "tensorrt" if backend == "tensorrt" else "tensorrt-rtx"
        return open_engine(folder, graph, target, to_compare)
    try:
        from vidtok_edge.runtime.backends.onnxruntime import OnnxRuntimeStep
    except ImportError as error:
        raise BackendUnavailable(
            f"No backend is installed to run {graph.file} ({error}). "
            'Install one with: pip install "vidtok-edge[ort]" (CPU) or "vidtok-edge[gpu]" (CUDA)'
        ) from None
    return OnnxRuntimeStep(graph, folder / graph.file, backend, threads, to_compare)


def open_fastest(opened: Callable[[str], Step]) -> Step:
    """An engine where one fits this GPU, else CUDA where ONNX Runtime has it, else the CPU.

    Nothing is compiled: an engine is there or is not. An engine that is there and cannot be used
    is a fallback, and `Step.info` says why; one that is not there is none.

    Args:
        opened: opens the step on a backend; on ONNX Runtime's fastest for `onnxruntime`.
    """
    passed_over = []
    if present_gpu() is not None:
        for target in ("tensorrt", "tensorrt-rtx"):
            try:
                return opened(target)
            except (EngineMissing, MissingDependency):
                continue
            except (BackendUnavailable, BundleError, DeviceError) as error:
                passed_over.append(f"{target}: {error}")
    step = opened("onnxruntime")
    passed_over += [step.info.fell_back] if step.info.fell_back else []
    step.info = replace(step.info, asked="auto", fell_back="; ".join(passed_over))
    return step
