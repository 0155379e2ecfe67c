"""Which memory an engine's tensors use in which call. Needs no driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vidtok_edge.runtime.backends.arrays import Place
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec

__all__ = ["SCRATCH", "BufferPlan", "DeviceBuffer"]

SCRATCH = "scratch memory"
"""Name of a buffer that belongs to no tensor; there is none where an engine needs none."""


@dataclass(frozen=True, slots=True)
class DeviceBuffer:
    """Device memory that a step keeps for life."""

    name: str
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class BufferPlan:
    """The buffers of a step, and what each tensor is bound to in even and in odd calls.

    A cache has two buffers, used in turn: what one call writes the next one reads. An output is
    never bound to its own input's memory, because a graph that shifts a cache would read what it
    has overwritten. All else has one device buffer, and what the host writes or reads one there.
    """

    uploads: tuple[TensorSpec, ...]
    """Inputs that the host writes."""
    downloads: tuple[TensorSpec, ...]
    """Outputs that the host reads."""
    unread: tuple[TensorSpec, ...]
    """Outputs that an engine must write somewhere, and that the host does not read."""
    caches: tuple[tuple[TensorSpec, TensorSpec], ...]
    scratch_bytes: int
    """What an engine works in during a call, even or odd: one buffer for both."""

    @classmethod
    def of(
        cls,
        graph: GraphSpec,
        scratch_bytes: int,
        to_compare: bool = False,
        outputs_on: Place = "host",
        extra_outputs: tuple[TensorSpec, ...] = (),
    ) -> BufferPlan:
        """The plan for streams; `to_compare` and `outputs_on` as in `open_step`.

        `extra_outputs` are what an engine writes that its graph has not as outputs.
        """
        downloads = graph.host_outputs if to_compare else graph.stream_outputs
        if outputs_on == "device":
            downloads = ()
        unread = tuple(spec for spec in graph.host_outputs if spec not in downloads)
        return cls(
            uploads=graph.host_inputs,
            downloads=downloads,
            unread=(*unread, *extra_outputs),
            caches=graph.caches,
            scratch_bytes=scratch_bytes,
        )

    @property
    def _single(self) -> tuple[TensorSpec, ...]:
        return (*self.uploads, *self.downloads, *self.unread)

    @property
    def device(self) -> tuple[DeviceBuffer, ...]:
        """All device buffers."""
        once = [DeviceBuffer(spec.name, spec.nbytes) for spec in self._single]
        twice = [
            DeviceBuffer(_half(old, half), old.nbytes) for old, _ in self.caches for half in (0, 1)
        ]
        scratch = DeviceBuffer(SCRATCH, self.scratch_bytes)
        return (*once, *twice, *([scratch] if scratch.size else []))

    @property
    def device_bytes(self) -> int:
        return sum(buffer.size for buffer in self.device)

    def bindings(self, turn: int) -> Mapping[str, str]:
        """The device buffer of each tensor in calls of `turn`, 0 or 1."""
        bound = {spec.name: spec.name for spec in self._single}
        for old, new in self.caches:
            bound[old.name], bound[new.name] = _half(old, turn), _half(old, 1 - turn)
        return bound

    def current(self, turn: int) -> Mapping[str, str]:
        """The buffer of each cache that a call of `turn` reads, by input name."""
        return {old.name: _half(old, turn) for old, _ in self.caches}


def _half(cache: TensorSpec, half: int) -> str:
    return f"{cache.name}.{half}"
