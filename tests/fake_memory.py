"""Memory of a fake GPU: an address space for the device, one for the host, and what both share.

Device addresses are numbers that no process can map, so reading one as a host pointer ends the
process instead of working by accident. Memory that the host could write stays there when it is
freed, with a pattern in it, so that a write to it is found; so is one past the end of a buffer that
is still in use. Mapped memory has an address for each side, managed memory one for both.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FakeMemory", "Misuse", "Space"]

Space = Literal["device", "pinned", "mapped", "managed"]
_BY_DEVICE = ("device", "mapped", "managed")
_BY_HOST = ("pinned", "mapped", "managed")
Bytes = NDArray[np.uint8]

# No process is given it: x86-64 maps below 2**47 where more is not asked for, and on AArch64 bit 55
# says that an address is the kernel's (bits 56 and up may be ignored there).
_DEVICE = 1 << 55
_ALIGNMENT = 512
_GUARD = 64
_UNINITIALISED, _FREED, _BEYOND = 0xFF, 0xDD, 0xA5


class Misuse(AssertionError):
    """The fake GPU was asked for what a real one would refuse, or do wrongly."""


@dataclass(eq=False)
class _Buffer:
    space: Space
    address: int
    size: int
    """In bytes."""
    memory: Bytes
    """Where the host can write, with `_GUARD` bytes more."""
    device_address: int
    """Where the device finds it: of mapped memory another address, of pinned memory none (0)."""
    freed: bool = False

    def __str__(self) -> str:
        return f"{self.size} B of {self.space} memory at {self.address:#x}"

    @property
    def damaged(self) -> bool:
        """Whether the host wrote beyond it, or into it after it was freed."""
        if self.space == "device":
            return False
        inside = self.freed and bool((self.memory[: self.size] != _FREED).any())
        return inside or bool((self.memory[self.size :] != _BEYOND).any())


@dataclass
class FakeMemory:
    """Every allocation that was ever made; addresses are never used twice.

    Methods raise Misuse.
    """

    _buffers: list[_Buffer] = field(default_factory=list)
    _next: int = _DEVICE

    def allocate(self, space: Space, size: int) -> int:
        """Address of `size` new bytes, all ones: as a float NaN, as a bool invalid."""
        if size <= 0:
            raise Misuse(f"{size} B of {space} memory were asked for")
        if space == "device":
            memory = np.full(size, _UNINITIALISED, np.uint8)
            address = device_address = self._device_range(size)
        else:
            memory = _aligned(size + _GUARD)
            memory[size:] = _BEYOND
            address, device_address = memory.ctypes.data, 0
            if space == "mapped":
                device_address = self._device_range(size)
            elif space == "managed":
                device_address = address
        self._buffers.append(_Buffer(space, address, size, memory, device_address))
        return address

    def free(self, spaces: tuple[Space, ...], address: int) -> None:
        """Free what `allocate` gave, by its first address; it must be of one of `spaces`."""
        buffer = self._around(address)
        if buffer is None or buffer.address != address:
            raise Misuse(f"{address:#x} was freed, where no memory begins")
        if buffer.space not in spaces:
            raise Misuse(f"{buffer} was freed as {spaces[0]} memory")
        if buffer.freed:
            raise Misuse(f"{buffer} was freed twice")
        if buffer.damaged:
            raise Misuse(f"{buffer} was written beyond its end")
        buffer.freed = True
        if buffer.space == "device":
            buffer.memory = np.empty(0, np.uint8)
        else:
            buffer.memory[: buffer.size] = _FREED

    def device_address(self, address: int) -> int:
        """Where the device finds mapped memory that begins at `address` of the host."""
        buffer = self._around(address)
        if buffer is None or buffer.space != "mapped" or buffer.address != address:
            raise Misuse(f"no mapped memory begins at {address:#x}")
        return buffer.device_address

    def device(self, address: int, size: int, what: str) -> Bytes:
        """The `size` bytes at `address` of the device, in place; `what` names them in errors."""
        buffer = self._around(address)
        if buffer is None:
            raise Misuse(f"{what}: {address:#x} is no device memory")
        if buffer.space not in _BY_DEVICE:
            raise Misuse(f"{what}: device memory is needed, and this is in {buffer}")
        if address < buffer.device_address:
            raise Misuse(f"{what}: the device finds {buffer} at {buffer.device_address:#x}")
        return self._part(buffer, address - buffer.device_address, size, what)

    def pinned(self, address: int, size: int, what: str) -> Bytes | None:
        """The `size` bytes of pinned memory at `address`; None where they are pageable."""
        buffer = self._around(address)
        if buffer is None and address < _DEVICE:
            return None
        if buffer is None or buffer.space not in _BY_HOST or address >= _DEVICE:
            raise Misuse(f"{what}: host memory is needed, and {address:#x} is the device's")
        return self._part(buffer, address - buffer.address, size, what)

    def host(self, address: int, size: int, what: str) -> Bytes:
        """The `size` bytes of host memory at `address`, pinned or pageable."""
        found = self.pinned(address, size, what)
        if found is not None:
            return found
        if not address:
            raise Misuse(f"{what}: host memory is needed, and this is a null pointer")
        memory = (ctypes.c_uint8 * size).from_address(address)
        return np.frombuffer(memoryview(memory), np.uint8)

    def shared(self, address: int) -> bool:
        """Whether the host can read and write what the device finds at `address`."""
        return self.space_of(address) in ("mapped", "managed")

    def space_of(self, address: int) -> Space | None:
        """In which space `address` lies; None: in memory that is not ours."""
        buffer = self._around(address)
        return None if buffer is None or buffer.freed else buffer.space

    def left(self) -> list[str]:
        """What was not freed."""
        return [str(buffer) for buffer in self._buffers if not buffer.freed]

    def damaged(self) -> list[str]:
        """Memory that the host wrote beyond, or wrote into after it was freed."""
        return [str(buffer) for buffer in self._buffers if buffer.damaged]

    def _device_range(self, size: int) -> int:
        """The first of `size` new addresses of the device."""
        address, self._next = self._next, self._next + (size // _ALIGNMENT + 2) * _ALIGNMENT
        return address

    def _around(self, address: int) -> _Buffer | None:
        for buffer in self._buffers:
            for first in (buffer.address, buffer.device_address):
                if first and first <= address < first + buffer.size:
                    return buffer
        return None

    def _part(self, buffer: _Buffer, begin: int, size: int, what: str) -> Bytes:
        if buffer.freed:
            raise Misuse(f"{what}: {buffer} was freed")
        if begin + size > buffer.size:
            raise Misuse(f"{what}: {size} B from byte {begin} are not within {buffer}")
        return buffer.memory[begin : begin + size]


def _aligned(size: int) -> Bytes:
    """New memory of the host, all ones, at an address that the device takes as well."""
    memory = np.full(size + _ALIGNMENT, _UNINITIALISED, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size]
