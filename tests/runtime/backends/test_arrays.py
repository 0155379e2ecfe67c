"""Arrays by DLPack and `__cuda_array_interface__`, held to NumPy's and PyTorch's own readers."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.backends.arrays import Borrowed, DeviceArray, borrowed

CPU, CUDA, VULKAN, MANAGED = (1, 0), (2, 0), (7, 0), (13, 0)
DTYPES = st.sampled_from(["u1", "i4", "f4", "f2", "i8", "?"])
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(max_dims=4, max_side=5), elements={"allow_nan": False})


def lent(array: NDArray[Any], device: tuple[int, int] = CPU) -> DeviceArray:
    """`array` as if it lay on a device."""
    return DeviceArray(
        address=array.ctypes.data,
        shape=array.shape,
        dtype=array.dtype,
        strides=array.strides,
        device=device,
    )


class Owner:
    """Somebody's array that says that it lies on a device; notes the streams that it is told."""

    def __init__(self, array: NDArray[Any], device: tuple[int, int] = CUDA) -> None:
        self.array, self.device = array, device
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: Any = None) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


# --- given ------------------------------------------------------------------------------------


@given(ARRAYS)
def test_numpy_reads_what_we_lend(array: NDArray[Any]) -> None:
    read = np.from_dlpack(lent(array))
    np.testing.assert_array_equal(read, array)
    assert np.shares_memory(read, array) and read.dtype == array.dtype


@given(ARRAYS, st.data())
def test_items_and_parts_are_numpys(array: NDArray[Any], data: st.DataObject) -> None:
    count = len(array)
    begin, end = (data.draw(st.integers(-count - 1, count + 1)) for _ in range(2))
    np.testing.assert_array_equal(np.from_dlpack(lent(array)[begin:end]), array[begin:end])
    index = data.draw(st.integers(-count, count - 1))
    np.testing.assert_array_equal(np.from_dlpack(lent(array)[index]), array[index])


@given(ARRAYS)
def test_what_has_no_strides_is_contiguous(array: NDArray[Any]) -> None:
    plain = DeviceArray(address=1, shape=array.shape, dtype=array.dtype)
    assert plain.steps == array.strides and plain.contiguous
    assert plain.nbytes == array.nbytes and len(plain) == len(array)


def test_torch_reads_what_we_lend() -> None:
    torch = pytest.importorskip("torch")
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)[:, ::2]
    tensor = torch.from_dlpack(lent(array))
    np.testing.assert_array_equal(tensor.numpy(), array)
    tensor[1, 1, 1] = -5
    assert array[1, 1, 1] == -5, "it is the same memory"


def test_the_interface_is_of_the_gpu_alone() -> None:
    array = np.zeros((2, 3), np.float32)
    told = lent(array, CUDA).__cuda_array_interface__
    assert told["data"] == (array.ctypes.data, False) and told["typestr"] == "<f4"
    assert told["shape"] == (2, 3) and told["strides"] == (12, 4) and told["stream"] is None
    assert not hasattr(lent(array), "__cuda_array_interface__")


def test_readers_free_what_a_capsule_takes() -> None:
    array = lent(np.zeros((4, 4), np.uint8))
    tracemalloc.start()
    try:
        for _ in range(50):  # what is made once is made
            np.from_dlpack(array)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            np.from_dlpack(array)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 10_000, "a hundred bytes of each are held"


def test_no_copy_is_made_and_no_other_device_pretended() -> None:
    array = lent(np.zeros(3, np.uint8))
    for wanted in ({"copy": True}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError, match="where it is"):
            array.__dlpack__(**wanted)
    array.__dlpack__(dl_device=CPU, copy=False, max_version=(1, 0), stream=None)


@pytest.mark.parametrize("index", [3, -4, slice(None, None, 2), slice(None, None, -1)])
def test_items_that_are_not_there(index: Any) -> None:
    with pytest.raises(IndexError):
        lent(np.zeros((3, 2)))[index]
    with pytest.raises(TypeError, match="no length"):
        len(DeviceArray(address=1, shape=(), dtype=np.dtype("u1")))


# --- taken ------------------------------------------------------------------------------------


@given(ARRAYS)
def test_what_is_on_the_device_is_described_and_not_read(array: NDArray[Any]) -> None:
    owner = Owner(array)
    found = borrowed(owner, "It", stream=77)
    assert isinstance(found, Borrowed) and found.after is None and owner.streams == [77]
    np.testing.assert_array_equal(np.from_dlpack(lent_as_found(found)), array)


def lent_as_found(found: Borrowed) -> DeviceArray:
    """Its memory, which is the host's in truth."""
    return replace(found.array, device=CPU)


def test_who_names_a_stream_waits_for_it_and_nobody_else_does() -> None:
    owner = Owner(np.zeros(2, np.uint8))
    found = borrowed(owner, "It", stream=77, after=5)
    assert isinstance(found, Borrowed) and found.after == 5 and owner.streams == [-1]


def test_torch_on_the_host_is_read_in_place() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    found = borrowed(tensor, "It")
    assert isinstance(found, np.ndarray) and found.ctypes.data == tensor.data_ptr()
    with pytest.raises(StreamError, match=r"It cannot be read where it is: .*detach"):
        borrowed(torch.zeros(2, requires_grad=True), "It")
    with pytest.raises(StreamError, match=r"NumPy does not know|cannot be read"):
        borrowed(torch.zeros(2, dtype=torch.bfloat16), "It")


def test_the_owner_lives_as_long_as_what_was_borrowed() -> None:
    array = np.arange(100, dtype=np.uint8)
    owner = Owner(array)
    found = borrowed(owner, "It", stream=1)
    holders = gc.get_referrers(array)
    del owner
    gc.collect()
    assert isinstance(found, Borrowed) and holders
    np.testing.assert_array_equal(np.from_dlpack(lent_as_found(found)), array)


class Interface:
    """An array by `__cuda_array_interface__`."""

    def __init__(self, **facts: Any) -> None:
        array = {"shape": (2, 3), "typestr": "|u1", "data": (4096, False), "version": 3}
        self.__cuda_array_interface__ = array | facts


def test_the_interface_is_read() -> None:
    found = borrowed(Interface(strides=(8, 1), stream=2), "It", stream=1)
    assert isinstance(found, Borrowed)
    assert (found.array.shape, found.array.steps, found.after) == ((2, 3), (8, 1), 2)
    assert found.array.address == 4096 and found.array.dtype == np.uint8
    plain = borrowed(Interface(), "It", stream=1, after=9)
    assert isinstance(plain, Borrowed) and plain.array.contiguous and plain.after == 9


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"data": None}, "lacks"), ({"typestr": "nonsense"}, "lacks"), ({"shape": None}, "lacks")],
)
def test_an_interface_that_is_none(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(StreamError, match=f"It has a __cuda_array_interface__ that {said}"):
        borrowed(Interface(**facts), "It", stream=1)


def test_an_interface_with_a_mask() -> None:
    with pytest.raises(StreamError, match=r"It has a mask\. Give an array in which every"):
        borrowed(Interface(mask=Interface()), "It", stream=1)
    assert isinstance(borrowed(Interface(mask=None), "It", stream=1), Borrowed)


@pytest.mark.parametrize(
    "value",
    [Owner(np.zeros(2)), Owner(np.zeros(2), MANAGED), Interface()],
    ids=["DLPack", "managed", "the interface"],
)
def test_a_backend_of_the_host_says_what_to_do(value: Any) -> None:
    with pytest.raises(StreamError, match=r"It is on .*GPU.*Copy it to the host, or run an engine"):
        borrowed(value, "It")


def test_what_is_no_array_or_on_no_gpu() -> None:
    with pytest.raises(StreamError, match=r"It is of type list\. Give a NumPy array"):
        borrowed([1], "It")
    with pytest.raises(StreamError, match="device of DLPack's type 7"):
        borrowed(Owner(np.zeros(2), VULKAN), "It", stream=1)
