"""Two steps that take the same calls: what streams through them is seen on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.runtime.backends.step import BackendInfo, OnDevice, Step, StepTimes
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["PairStep"]

Array = NDArray[Any]


class PairStep:
    """A step that runs another one beside it, each with caches of its own.

    What it shows is the first one's. `before` and `after` are called around each call of both.
    """

    def __init__(
        self,
        first: Step,
        second: Step,
        *,
        before: Callable[[PairStep], None] = lambda pair: None,
        after: Callable[[PairStep], None] = lambda pair: None,
    ) -> None:
        self.first, self.second = first, second
        self.graph: GraphSpec = first.graph
        self.info: BackendInfo = first.info
        self.inputs: Mapping[str, Array] = first.inputs
        self.outputs: Mapping[str, Array] = first.outputs
        self.times = StepTimes(0, 0, 0)
        self.device: OnDevice | None = None  # frames of the host go to both
        self.calls = 0
        """That have ended."""
        self._before, self._after = before, after

    def run(self) -> None:
        for name, value in self.first.inputs.items():
            self.second.inputs[name][...] = value
        self._before(self)
        self.first.run()
        self.second.run()
        self.times = self.first.times + self.second.times
        self.calls += 1
        self._after(self)

    def caches(self) -> dict[str, Array]:
        return self.first.caches()

    def set_caches(self, values: Mapping[str, Array]) -> None:
        self.first.set_caches(values)

    def close(self) -> None:
        self.first.close()
        self.second.close()

    def __enter__(self) -> PairStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
