"""What runs a step graph: the protocol that every backend meets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import (
    StreamError,
)
from vidtok_edge.runtime.backends.arrays import Borrowed, DeviceArray
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["BackendInfo", "OnDevice", "Step", "StepTimes", "check_caches", "poison", "step_closed"]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What really runs a graph. Truthy where it is what was asked for."""

    asked: str
    active: str
    library: str
    """Name and version, as `onnxruntime 1.31.1`."""
    fell_back: str
    """Why faster candidates were passed over; empty where none was."""
    memory: str = ""
    """Where frames and tokens of an engine lie, as an `engines.memory.Memory`; empty elsewhere."""

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


class OnDevice(Protocol):
    """The inputs and outputs of a step in the memory of its device.

    An item is one frame or latent of an input: `inputs[name][slot, place]`.
    """

    stream: int
    """The CUDA stream in which borrowed arrays are read."""
    outputs: Mapping[str, DeviceArray]
    """Where each call leaves what streams read; valid until the next call, or until `close`."""

    def check(self, item: Borrowed) -> None:
        """Refuse, with StreamError, an item of another device, or one that cannot be copied."""

    def put(self, name: str, slot: int, place: int, item: Borrowed) -> None:
        """Copy an item that was checked. When this returns its owner may write over it.

        Raises DeviceError.
        """

    def put_by_host(self, name: str, slot: int, place: int) -> None:
        """From now on what the host wrote to `inputs` counts, not what `put` was given."""

    def repeat(self, name: str, slot: int, place: int) -> None:
        """Copy an item to all places behind it; the host has done so in `inputs`."""

    def read(self, item: Borrowed) -> NDArray[Any]:
        """A copy on the host of what was checked. StreamError: its rows are apart."""


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

    @property
    def device(self) -> OnDevice | None:
        """What is on the device; None: the host alone writes and reads."""

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


def check_caches(graph: GraphSpec, values: Mapping[str, NDArray[Any]]) -> None:
    """Refuse, with StreamError, what are not the caches of `graph`."""
    for spec, _ in graph.caches:
        value = values.get(spec.name)
        if value is None or value.shape != spec.shape or value.dtype != spec.dtype:
            got = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
            raise StreamError(
                f"The cache {spec} was given {got}. Give back what caches() returned."
            )


def poison(step: Step) -> None:
    """Fill the caches of `step` with what must never come out again: NaN, and the largest
    integers."""
    step.set_caches({name: _never(value) for name, value in step.caches().items()})


def _never(cache: NDArray[Any]) -> NDArray[Any]:
    if cache.dtype.kind in "iu":
        return np.full_like(cache, np.iinfo(cache.dtype).max)
    return np.full_like(cache, np.nan if cache.dtype.kind == "f" else True)


def step_closed() -> StreamError:
    """What every call of a closed step raises."""
    return StreamError("This step is closed. Get a new one from the bundle.")
