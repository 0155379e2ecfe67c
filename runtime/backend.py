"""What runs a step graph: the protocol every backend meets, and the one place that chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from vidtok_edge.errors import (
    BackendUnavailable,
    BundleError,
    DeviceError,
    EngineMissing,
    MissingDependency,
    StreamError,
    UsageError,
)
from vidtok_edge.runtime.gpu import present_gpu
from vidtok_edge.runtime.manifest import GraphSpec

__all__ = [
    "BACKENDS",
    "BackendInfo",
    "Step",
    "StepTimes",
    "check_caches",
    "open_fastest",
    "open_step",
    "step_closed",
]

BACKENDS = ("cpu", "cuda", "tensorrt", "tensorrt-rtx")
"""What can be asked for by name: two of ONNX Runtime, and the engines of `vidtok-edge build`."""


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What really runs a graph. Truthy where it is what was asked for."""

    asked: str
    active: str
    library: str
    """Name and version, as `onnxruntime 1.31.1`."""
    fell_back: str
    """Why faster candidates were passed over; empty where none was."""

    def __bool__(self) -> bool:
        return not self.fell_back

    def __str__(self) -> str:
        note = f" (fell back: {self.fell_back})" if self.fell_back else ""
        return f"{self.active} on {self.library}{note}"


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Where the time of one call went, in nanoseconds."""

    upload_ns: int
    """Inputs to the device; 0 where there is none."""
    compute_ns: int
    download_ns: int
    """Outputs to the host; 0 where there is none."""

    @property
    def total_ns(self) -> int:
        """All three."""
        return self.upload_ns + self.compute_ns + self.download_ns

    def __add__(self, other: StepTimes) -> StepTimes:
        return StepTimes(
            self.upload_ns + other.upload_ns,
            self.compute_ns + other.compute_ns,
            self.download_ns + other.download_ns,
        )

    def __sub__(self, other: StepTimes) -> StepTimes:
        return StepTimes(
            self.upload_ns - other.upload_ns,
            self.compute_ns - other.compute_ns,
            self.download_ns - other.download_ns,
        )


class Step(Protocol):
    """A loaded step graph and its state.

    The host writes `inputs` (zeros at first), calls `run`, and reads `outputs`: those that streams
    read. Both are the same arrays for the life of the step. Caches never appear: `run` reads one
    set, writes the other, and swaps them.
    """

    graph: GraphSpec
    info: BackendInfo
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    times: StepTimes
    """Of the last call; zeros before it. ONNX Runtime counts its downloads as computing."""

    def run(self) -> None:
        """One call of the graph."""

    def caches(self) -> dict[str, NDArray[Any]]:
        """Copies of the caches that the next `run` reads, by input name; to look at, or to keep."""

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Overwrite the caches that the next `run` reads."""

    def close(self) -> None:
        """Release the graph; idempotent."""

    def __enter__(self) -> Step: ...

    def __exit__(self, *exc: object) -> None: ...


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
        from vidtok_edge.runtime.engines.sidecar import Target
        from vidtok_edge.runtime.engines.step import open_engine

        target: Target = "tensorrt" if backend == "tensorrt" else "tensorrt-rtx"
        return open_engine(folder, graph, target, to_compare)
    try:
        from vidtok_edge.runtime.onnxruntime_backend import OnnxRuntimeStep
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


def check_caches(graph: GraphSpec, values: Mapping[str, NDArray[Any]]) -> None:
    """Refuse, with StreamError, what are not the caches of `graph`."""
    for spec, _ in graph.caches:
        value = values.get(spec.name)
        if value is None or value.shape != spec.shape or value.dtype != spec.dtype:
            got = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
            raise StreamError(
                f"The cache {spec} was given {got}. Give back what caches() returned."
            )


def step_closed() -> StreamError:
    """What every call of a closed step raises."""
    return StreamError("This step is closed. Get a new one from the bundle.")
