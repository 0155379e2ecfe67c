"""Memory in which ONNX Runtime holds what goes from call to call: the host's, or a device's."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vidtok_edge.runtime.manifest.graphs import TensorSpec

__all__ = ["NamedMemory", "PluginMemory", "ValueMemory"]

Value = Any
"""An `onnxruntime.OrtValue`."""


class ValueMemory(Protocol):
    """Memory of one place."""

    def empty(self, spec: TensorSpec) -> Value:
        """A new value, uninitialised."""

    def holding(self, array: NDArray[Any]) -> Value:
        """A new value with what is in `array`; on the host it is `array` itself."""

    def write(self, value: Value, array: NDArray[Any]) -> None:
        """Overwrite what is in a value."""

    def read(self, value: Value, spec: TensorSpec) -> NDArray[Any]:
        """A copy on the host."""


class NamedMemory:
    """Of a device that this build of ONNX Runtime knows by name: `cpu`, `cuda`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def empty(self, spec: TensorSpec) -> Value:
        shape, dtype = list(spec.shape), np.dtype(spec.dtype)
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, self._name, 0)

    def holding(self, array: NDArray[Any]) -> Value:
        return ort.OrtValue.ortvalue_from_numpy(array, self._name, 0)

    def write(self, value: Value, array: NDArray[Any]) -> None:
        value.update_inplace(array)

    def read(self, value: Value, spec: TensorSpec) -> NDArray[Any]:
        copy: NDArray[Any] = value.numpy().copy()
        return copy


class PluginMemory:
    """Of a device that a plugin brought, which also copies to it and from it.

    Such a device has no name, and `OrtValue.numpy` and `update_inplace` do not reach it.
    """

    def __init__(self, device: Any) -> None:
        """`device`: an `onnxruntime.OrtEpDevice`."""
        self._info = device.memory_info(ort.OrtDeviceMemoryType.DEFAULT)

    def empty(self, spec: TensorSpec) -> Value:
        return self._empty(spec.shape, np.dtype(spec.dtype))

    def holding(self, array: NDArray[Any]) -> Value:
        value = self._empty(array.shape, array.dtype)
        self.write(value, array)
        return value

    def write(self, value: Value, array: NDArray[Any]) -> None:
        ort.copy_tensors([ort.OrtValue.ortvalue_from_numpy(array)], [value])

    def read(self, value: Value, spec: TensorSpec) -> NDArray[Any]:
        array: NDArray[Any] = np.empty(spec.shape, spec.dtype)
        ort.copy_tensors([value], [ort.OrtValue.ortvalue_from_numpy(array)])
        return array

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, memory_info=self._info)
