"""Where the frames and tokens of an engine lie: what the host writes of it and reads.

A GPU with memory of its own is sent them: the host fills memory beside it, and each call copies. A
Jetson's GPU and its CPU share one memory, where that copy is a pass over the frames for nothing:
the engine can work on what the host writes and reads. Whether that is faster depends on what either
of them caches of such memory, so it is measured (`runtime/proving/memory_choice.py`). Caches and
whatever else the host does not see are in memory of the device in any case.

On a GPU `device` alone was run (docs/measured): the others are unverified on hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.manifest.names import Name

__all__ = ["HostBuffer", "Memory", "allocated", "require_memory", "served"]

Made = Callable[[int, Callable[[int], None]], int]
"""Keeps an address, and how it is freed, until the step is closed; gives the address."""


class Memory(Name):
    """The kinds of memory, in the order in which they are tried."""

    DEVICE = "device"
    """The device's, and pinned memory of the host beside it: each call copies."""
    MAPPED = "mapped"
    """Pinned memory of the host, which the device reads and writes where it is."""
    MANAGED = "managed"
    """Of both at one address; the driver sees to it that each finds what the other wrote."""

    @classmethod
    def named(cls, name: str) -> Memory:
        """The kind of that name. UsageError: there is none."""
        try:
            return cls(name)
        except ValueError:
            raise UsageError(f"There is no memory {name!r}; use {', '.join(cls)}.") from None

    @property
    def shared(self) -> bool:
        """Whether host and device use the same bytes, so that a call copies nothing."""
        return self is not Memory.DEVICE


_NEEDS: Mapping[Memory, Mapping[str, str]] = {
    Memory.DEVICE: {},
    Memory.MAPPED: {"CanMapHostMemory": "it does not map memory of the host"},
    Memory.MANAGED: {
        "ManagedMemory": "it has no managed memory",
        # Else the host may not touch any of it while anything at all runs on the GPU, also a stream
        # of another camera, of PyTorch or one of TensorRT's own, of which a step knows nothing: the
        # process would be ended. To attach it to one stream leaves out TensorRT's own.
        "ConcurrentManagedAccess": "host and GPU may not use managed memory at once",
    },
}
"""The attributes of CUDA that a device must have, and what is said where it has not."""


def served(cuda: Cuda) -> tuple[Memory, ...]:
    """The kinds that the device of `cuda` can serve. Raises DeviceError."""
    return tuple(memory for memory in Memory if not _obstacle(memory, cuda))


def require_memory(memory: Memory, cuda: Cuda) -> None:
    """Refuse what the device cannot serve.

    Raises:
        BackendUnavailable: it cannot; the message has the attribute, and what it can.
        DeviceError: CUDA failed.
    """
    if why := _obstacle(memory, cuda):
        can = ", ".join(served(cuda))
        raise BackendUnavailable(
            f"Frames and tokens cannot be in {memory} memory on this GPU: {why}. It can: {can}. "
            "Ask for one of these, or let `vidtok-edge build BUNDLE --memory auto` measure which "
            "is fastest."
        )


def _obstacle(memory: Memory, cuda: Cuda) -> str:
    """Why the device cannot serve it; empty where it can."""
    for attribute, why in _NEEDS[memory].items():
        if not cuda.attribute(attribute):
            return f"{why} (cudaDevAttr{attribute} is 0)"
    return ""


@dataclass(frozen=True, slots=True)
class HostBuffer:
    """Memory of a tensor that the host writes or reads, by the address that each side uses.

    The device's is for CUDA and TensorRT alone, the host's for the host alone, also where the two
    are one number.
    """

    host: int
    device: int


def allocated(memory: Memory, cuda: Cuda, size: int, made: Made) -> HostBuffer:
    """A buffer of `size` bytes, uninitialised. Raises DeviceError."""
    if memory is Memory.MAPPED:
        host = made(cuda.mapped_buffer(size), cuda.free_host_buffer)
        return HostBuffer(host, cuda.mapped_address(host))
    if memory is Memory.MANAGED:
        both = made(cuda.managed_buffer(size), cuda.free_device_buffer)
        return HostBuffer(both, both)
    device = made(cuda.device_buffer(size), cuda.free_device_buffer)
    return HostBuffer(made(cuda.host_buffer(size), cuda.free_host_buffer), device)
