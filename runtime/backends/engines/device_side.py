"""The inputs and outputs of an engine in device memory, for frames that are on the device already.

It ran on one H200 with frames of PyTorch (docs/measured); rows that are apart, and several streams,
are unverified on hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.backends.arrays import Borrowed, DeviceArray, described
from vidtok_edge.runtime.backends.engines.cuda import Cuda, Event, Stream, Way
from vidtok_edge.runtime.manifest.graphs import TensorSpec

__all__ = ["DeviceSide"]

Guard = Callable[[], AbstractContextManager[None]]


class DeviceSide:
    """An `OnDevice` of CUDA.

    A device frame is copied into the engine's input when it is pushed, so its owner may use its
    memory again at once, as with a frame of the host. Frames of both kinds may be in one chunk.

    Where the host shares the engine's input, it finds there what was copied: it repeats items of
    both kinds itself, and there is nothing to send.
    """

    def __init__(
        self,
        cuda: Cuda,
        stream: Stream,
        mark: Event,
        addresses: Mapping[str, int],
        *,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        guard: Guard,
        shared: bool = False,
    ) -> None:
        """`addresses`: of the tensors; `guard`: closes the step where CUDA fails; `shared`: the
        inputs lie in memory that the host writes."""
        self.stream, self._device = int(stream), cuda.device()
        self._cuda, self._stream, self._mark, self._guard = cuda, stream, mark, guard
        self._shared = shared
        self._way: Way = "inferred" if shared else "within"
        self._inputs = {spec.name: (spec, addresses[spec.name]) for spec in inputs}
        self._given: dict[str, set[tuple[int, int]]] = {spec.name: set() for spec in inputs}
        self._written: dict[str, set[tuple[int, int]]] = {spec.name: set() for spec in inputs}
        self.outputs: Mapping[str, DeviceArray] = {
            spec.name: DeviceArray(
                address=addresses[spec.name],
                shape=spec.shape,
                dtype=np.dtype(spec.dtype),
                device=(2, self._device),
            )
            for spec in outputs
        }

    def check(self, item: Borrowed) -> None:
        array = item.array
        if not array.nbytes:
            return
        if not array.rows_contiguous or array.steps[0] < array.nbytes // len(array):
            raise _not_adjacent(array)
        with self._guard():
            device = self._cuda.device_of(array.address)
        if device != self._device:
            where = "no GPU's memory" if device is None else f"the memory of GPU {device}"
            raise StreamError(
                f"An array lies in {where}, and this engine runs on GPU {self._device}. Copy it "
                "there, or choose the GPU with CUDA_VISIBLE_DEVICES."
            )

    def put(self, name: str, slot: int, place: int, item: Borrowed) -> None:
        target, _ = self._item(name, slot, place)
        self._copied(item, lambda: self._copy_within(target, item.array))
        self._given[name].add((slot, place))
        self._written[name].discard((slot, place))

    def put_by_host(self, name: str, slot: int, place: int) -> None:
        self._written[name].add((slot, place))
        self._given[name].discard((slot, place))

    def repeat(self, name: str, slot: int, place: int) -> None:
        if self._shared:
            return
        spec, _ = self._inputs[name]
        given = (slot, place) in self._given[name]
        source, size = self._item(name, slot, place)
        for behind in range(place + 1, spec.shape[1]):
            if not given:
                self.put_by_host(name, slot, behind)
                continue
            with self._guard():
                target, _ = self._item(name, slot, behind)
                self._cuda.copy("within", target, source, size, self._stream)
            self._given[name].add((slot, behind))
            self._written[name].discard((slot, behind))

    def read(self, item: Borrowed) -> NDArray[Any]:
        array = item.array
        value = np.empty(array.shape, array.dtype)
        if not array.contiguous:
            raise _not_adjacent(array)

        def copy() -> None:
            self._cuda.copy("down", value.ctypes.data, array.address, array.nbytes, self._stream)

        self._copied(item, copy)
        return value

    def uploads(self, spec: TensorSpec) -> list[tuple[int, int]]:
        """What of an input the host has to send now: first byte and size of each part.

        All of it while no item came from the device; then what the host wrote since the last call;
        nothing where it wrote to the input itself.
        """
        if self._shared:
            return []
        written, self._written[spec.name] = self._written[spec.name], set()
        if not self._given[spec.name]:
            return [(0, spec.nbytes)]
        parts: list[tuple[int, int]] = []
        for slot, place in sorted(written):
            first, size = self._place(spec, slot, place)
            if parts and sum(parts[-1]) == first:
                first, size = parts[-1][0], parts[-1][1] + size
                del parts[-1]
            parts.append((first, size))
        return parts

    def _item(self, name: str, slot: int, place: int) -> tuple[int, int]:
        """Address and size of an item in the engine's input."""
        spec, address = self._inputs[name]
        first, size = self._place(spec, slot, place)
        return address + first, size

    @staticmethod
    def _place(spec: TensorSpec, slot: int, place: int) -> tuple[int, int]:
        """First byte and size of an item in its input."""
        slots, places = spec.shape[:2]
        size = spec.nbytes // (slots * places)
        return (slot * places + place) * size, size

    def _copied(self, item: Borrowed, copy: Callable[[], None]) -> None:
        """Copy when it is written, and wait: behind this the memory is its owner's again."""
        with self._guard():
            if item.after is not None:
                self._cuda.await_other(self._stream, item.after, self._mark)
            copy()
            self._cuda.wait(self._stream)

    def _copy_within(self, target: int, array: DeviceArray) -> None:
        """Rows may be apart, as in the surfaces of a video decoder."""
        pitch, width, stream = array.steps[0], array.nbytes // len(array), self._stream
        if pitch == width:
            self._cuda.copy(self._way, target, array.address, array.nbytes, stream)
        else:
            self._cuda.copy_rows(self._way, target, array.address, pitch, width, len(array), stream)


def _not_adjacent(array: DeviceArray) -> StreamError:
    return StreamError(
        f"The elements of {described(array)} are not side by side (strides of "
        f"{list(array.steps)} bytes). Make it contiguous first: .contiguous(), or "
        "cupy.ascontiguousarray."
    )
