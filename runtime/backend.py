"""What runs a step graph: the protocol every backend meets, and the one place that chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from numpy.typing import NDArray

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.runtime.manifest import GraphSpec

__all__ = ["BACKENDS", "BackendInfo", "Step", "open_step"]

BACKENDS = ("cpu", "cuda", "tensorrt", "tensorrt-rtx")
"""What can be asked for by name, all through ONNX Runtime; `auto` takes the fastest present."""


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


class Step(Protocol):
    """A loaded step graph and its state.

    The host writes `inputs` (zeros at first), calls `run`, and reads `outputs`; both are the same
    arrays for the life of the step. Caches never appear: `run` reads one set, writes the other, and
    swaps them.
    """

    graph: GraphSpec
    info: BackendInfo
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]

    def run(self) -> None:
        """One call of the graph."""

    def caches(self) -> dict[str, NDArray[Any]]:
        """Copies of the caches that the next `run` reads, by input name; to look at, or to keep."""

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Overwrite the caches that the next `run` reads."""

    def close(self) -> None:
        """Release the graph; idempotent."""

    def __enter__(self) -> Step: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_step(
    graph: GraphSpec, path: Path, backend: str = "auto", *, threads: int | None = None
) -> Step:
    """Load the graph at `path` on `backend`.

    Args:
        graph: what the manifest says about it.
        path: its file.
        backend: one of `BACKENDS`, or `auto`.
        threads: CPU threads of one call; ONNX Runtime's choice where None.

    Raises:
        UsageError: no backend of that name, or no such number of threads.
        BackendUnavailable: it cannot run here; the message has the line that installs it.
        BundleMismatch: the graph is not what the manifest says.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise UsageError(f"There is no backend {backend!r}; use auto, {', '.join(BACKENDS)}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; use 1 or more, or None for ONNX Runtime's choice.")
    try:
        from vidtok_edge.runtime.onnxruntime_backend import OnnxRuntimeStep
    except ImportError as error:
        raise BackendUnavailable(
            f"No backend is installed to run {path.name} ({error}). "
            'Install one with: pip install "vidtok-edge[ort]" (CPU) or "vidtok-edge[gpu]" (CUDA)'
        ) from None
    return OnnxRuntimeStep(graph, path, backend, threads)
