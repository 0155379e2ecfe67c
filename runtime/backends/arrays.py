"""Arrays of others, on the host or on a GPU, taken and given without a copy: DLPack and
`__cuda_array_interface__`.

DLPack is read and written as its header says (dlpack.h, version 0.8), by ctypes: NumPy takes
memory of the host alone. Frames of PyTorch were read so on an H200, and tokens by PyTorch
(docs/measured); `__cuda_array_interface__` is unverified on hardware.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import StreamError

__all__ = ["Array", "Borrowed", "DeviceArray", "Place", "borrowed", "described"]

Place = Literal["host", "device"]
"""Where results are wanted. On a backend without a device of its own both are the host."""

_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13  # DLDeviceType
_READ_BY_HOST = (_CPU, _CUDA_HOST)
_CODES = {0: "i", 1: "u", 2: "f", 6: "b"}  # DLDataTypeCode, and what NumPy calls it


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensor(ctypes.Structure):
    _fields_ = (
        ("tensor", _DLTensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DeviceArray:
    """An array in memory of a device, for whoever reads DLPack or `__cuda_array_interface__`.

    `torch.from_dlpack(array)` and `cupy.asarray(array)` read it where it is. It owns nothing: it is
    valid as long as whoever gave it says.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...] | None = None
    """In bytes; None: of a C-contiguous array."""
    device: tuple[int, int] = (_CUDA, 0)
    """DLPack's device type, and which of them it is."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Of its elements, together."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def steps(self) -> tuple[int, ...]:
        """Its strides in bytes, whether they were told or not."""
        if self.strides is not None:
            return self.strides
        return _plain_steps(self.shape, self.dtype.itemsize)

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie side by side, in order."""
        return self._side_by_side(0)

    @property
    def rows_contiguous(self) -> bool:
        """Whether those of each item along the first axis do."""
        return self._side_by_side(1)

    def _side_by_side(self, first: int) -> bool:
        """Along the axes from `first` on."""
        plain = _plain_steps(self.shape, self.dtype.itemsize)
        if self.strides is None or self.strides[first:] == plain[first:]:
            return True
        apart = list(zip(self.shape, self.strides, plain, strict=True))[first:]
        return all(length == 1 or step == wanted for length, step, wanted in apart)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> DeviceArray:
        """Along the first axis: one item, or consecutive ones."""
        count, step = len(self), self.steps[0]
        if isinstance(index, slice):
            begin, end, stride = index.indices(count)
            if stride != 1:
                raise IndexError(f"only consecutive items can be taken, not every {stride}th")
            shape = (max(0, end - begin), *self.shape[1:])
            return replace(self, address=self.address + begin * step, shape=shape)
        if not -count <= index < count:
            raise IndexError(f"{index} of {count} items")
        return replace(
            self,
            address=self.address + index % count * step,
            shape=self.shape[1:],
            strides=None if self.strides is None else self.strides[1:],
        )

    def __repr__(self) -> str:
        return f"DeviceArray({described(self)}, device {self.device[1]})"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.device[0] == _CPU:
            raise AttributeError("this array is in memory of the host")
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": self.strides,
            "stream": None,  # whoever gave it has waited for it
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule. What is in the array is there already, so no stream has to wait."""
        if copy or (dl_device is not None and tuple(dl_device) != self.device):
            raise BufferError("this array is lent where it is, without a copy")
        return _capsule_of(self)


@lru_cache(64)
def _plain_steps(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides of a C-contiguous array, in bytes. Kept: a stream asks for each frame."""
    return tuple(accumulate((itemsize, *shape[:0:-1]), int.__mul__))[: len(shape)][::-1]


Array = NDArray[Any] | DeviceArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """An array of somebody else's in memory of a GPU, kept alive for as long as this is held."""

    array: DeviceArray
    after: int | None
    """The CUDA stream in which it is written, to be waited for; None: there is none to wait for."""
    owner: Any = field(repr=False)


def borrowed(
    value: Any, what: str, *, stream: int | None = None, after: int | None = None
) -> NDArray[Any] | Borrowed:
    """Somebody's array, where it is.

    Args:
        value: a NumPy array, or what has `__dlpack__` or `__cuda_array_interface__`.
        what: names it in messages.
        stream: the CUDA stream in which it will be read; None: only the host reads.
        after: the CUDA stream in which it is written; None: DLPack or the interface tells.

    Returns:
        An array of the host, which may share its memory; or one on a GPU.

    Raises:
        StreamError: it is no array, lies where it cannot be read, or its owner refuses.
    """
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack_device__"):
        return _by_dlpack(value, what, stream, after)
    if (interface := getattr(value, "__cuda_array_interface__", None)) is not None:
        if stream is None:
            raise _on_a_device(what, "a GPU")
        return _by_interface(value, interface, what, after)
    raise StreamError(
        f"{what} is of type {type(value).__name__}. Give a NumPy array, or an array that has "
        "__dlpack__ or __cuda_array_interface__."
    )


def described(value: object) -> str:
    """What a caller handed in, for a message.

    >>> described(np.zeros((2, 3), np.uint8)), described([1])
    ('uint8 [2, 3]', 'list')
    """
    if isinstance(value, (np.ndarray, DeviceArray)):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__


def _by_dlpack(
    value: Any, what: str, stream: int | None, after: int | None
) -> NDArray[Any] | Borrowed:
    try:
        kind, number = (int(part) for part in value.__dlpack_device__())
        if kind in _READ_BY_HOST:
            return np.from_dlpack(value)
        if kind not in (_CUDA, _CUDA_MANAGED):
            raise StreamError(f"{what} is on a device of DLPack's type {kind}. Copy it to a GPU.")
        if stream is None:  # managed memory too: the host cannot wait for who writes it
            raise _on_a_device(what, f"GPU {number}")
        # -1: its owner need not make `stream` wait for it, for we shall wait for `after`.
        capsule = value.__dlpack__(stream=stream if after is None else -1)
        array = _array_in(capsule, what, (_CUDA, number))
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise StreamError(f"{what} cannot be read where it is: {error}") from None
    return Borrowed(array=array, after=after, owner=capsule)


def _on_a_device(what: str, where: str) -> StreamError:
    return StreamError(
        f"{what} is on {where}, and this backend reads arrays of the host. Copy it to the host, or "
        "run an engine: --backend tensorrt."
    )


def _by_interface(
    value: Any, interface: Mapping[str, Any], what: str, after: int | None
) -> Borrowed:
    try:
        strides, stream = interface.get("strides"), interface.get("stream")
        array = DeviceArray(
            address=int(interface["data"][0]),
            shape=tuple(int(size) for size in interface["shape"]),
            dtype=np.dtype(interface["typestr"]),
            strides=None if strides is None else tuple(int(step) for step in strides),
        )
        told = None if stream is None else int(stream)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise StreamError(f"{what} has a __cuda_array_interface__ that lacks {error}.") from None
    if interface.get("mask") is not None:  # which elements are none
        raise StreamError(f"{what} has a mask. Give an array in which every element counts.")
    return Borrowed(array=array, after=told if after is None else after, owner=value)


# --- capsules -----------------------------------------------------------------------------------

_python = ctypes.pythonapi
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _python)
)
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", _python))
_allocate = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(("PyMem_RawMalloc", _python))
_FREE = ctypes.cast(_python.PyMem_RawFree, ctypes.c_void_p).value
_NAME = b"dltensor"  # must outlive every capsule: it is not copied


def _array_in(capsule: Any, what: str, device: tuple[int, int]) -> DeviceArray:
    """What a capsule describes. It stays unread, so that its own destructor frees what it holds."""
    managed = _DLManagedTensor.from_address(_get_pointer(capsule, _NAME))
    tensor = managed.tensor
    code, bits = _CODES.get(tensor.code), tensor.bits
    if code is None or tensor.lanes != 1 or bits % 8:
        raise StreamError(
            f"{what} has elements that NumPy does not know (DLPack's type code {tensor.code}, "
            f"{bits} bits, {tensor.lanes} lanes)."
        )
    dtype = np.dtype(f"{code}{bits // 8}")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = None
    if tensor.strides:
        strides = tuple(step * dtype.itemsize for step in tensor.strides[: tensor.ndim])
    address = (tensor.data or 0) + tensor.byte_offset
    return DeviceArray(
        address=address,
        shape=shape,
        dtype=dtype,
        strides=strides,
        device=device,
    )


def _capsule_of(array: DeviceArray) -> Any:
    """A capsule whose memory Python's allocator gives and whose reader frees it, without Python.

    One that nobody reads keeps its hundred bytes: a destructor would have to be a function in C.
    """
    size, axes = array.dtype.itemsize, array.ndim
    lengths = (ctypes.c_int64 * (2 * axes))(*array.shape, *(step // size for step in array.steps))
    head = ctypes.sizeof(_DLManagedTensor)
    block = _allocate(head + ctypes.sizeof(lengths))
    if not block:
        raise MemoryError
    ctypes.memmove(block + head, lengths, ctypes.sizeof(lengths))
    managed = _DLManagedTensor.from_address(block)
    managed.context, managed.deleter = None, _FREE
    pointer = ctypes.POINTER(ctypes.c_int64)
    managed.tensor = _DLTensor(
        data=array.address,
        device_type=array.device[0],
        device_id=array.device[1],
        ndim=axes,
        code=next(code for code, name in _CODES.items() if name == array.dtype.kind),
        bits=8 * size,
        lanes=1,
        shape=ctypes.cast(block + head, pointer),
        strides=ctypes.cast(block + head + 8 * axes, pointer),
        byte_offset=0,
    )
    return _new_capsule(block, _NAME, None)
