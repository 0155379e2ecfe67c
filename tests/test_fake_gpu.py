"""The fake GPU refuses what a real one would: the tests of engines are worth what it notices."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import Error, FakeApi, Misuse, assert_fake_gpus_are_clean
from fake_tensorrt import FakeTensorRT

from vidtok_edge.errors import DeviceError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.engines.cuda import Cuda

UP, DOWN = 1, 2
SIZE = 64


@pytest.fixture
def api() -> Any:
    """A FakeApi; its calls give an error beside what they are declared to give."""
    return FakeApi()


@contextlib.contextmanager
def refused(api: Any, message: str) -> Iterator[None]:
    with pytest.raises(Misuse, match=message):
        yield
    assert api.misuse, "noted, should somebody catch it"
    api.misuse.clear()


def made(api: Any) -> tuple[int, int, Any]:
    """Device memory, pinned memory and a stream."""
    stream = api.cudaStreamCreateWithFlags(1)[1]
    return api.cudaMalloc(SIZE)[1], api.cudaMallocHost(SIZE)[1], stream


def freed(api: Any, device: int, pinned: int, stream: Any) -> None:
    api.cudaFree(device)
    api.cudaFreeHost(pinned)
    api.cudaStreamDestroy(stream)


def at(address: int) -> Any:
    return np.frombuffer(memoryview((ctypes.c_uint8 * SIZE).from_address(address)), np.uint8)


# --- memory -----------------------------------------------------------------------------------


def test_what_went_up_comes_down(api: Any) -> None:
    device, pinned, stream = made(api)
    at(pinned)[...] = np.arange(SIZE)
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    api.cudaMemcpyAsync(pinned, device + 32, 32, DOWN, stream)
    assert at(pinned).tolist() == list(range(SIZE)), (
        "nothing happens before the stream is waited for"
    )
    api.cudaStreamSynchronize(stream)
    assert at(pinned)[:32].tolist() == list(range(32, 64))
    assert not api.pageable
    freed(api, device, pinned, stream)
    api.assert_clean()


def test_memory_is_freed_once_and_by_the_call_of_its_kind(api: Any) -> None:
    device, pinned, stream = made(api)
    with refused(api, "pinned memory at .* was freed as device memory"):
        api.cudaFree(pinned)
    with refused(api, "device memory at .* was freed as pinned memory"):
        api.cudaFreeHost(device)
    with refused(api, "where no memory begins"):
        api.cudaFree(device + 16)
    freed(api, device, pinned, stream)
    with refused(api, "freed twice"):
        api.cudaFree(device)
    with refused(api, "freed twice"):
        api.cudaFreeHost(pinned)


@pytest.mark.parametrize(
    ("target", "source", "way", "message"),
    [
        ("pinned", "device", UP, "device memory is needed, and this is in 64 B of pinned"),
        ("device", "pinned", DOWN, "device memory is needed, and this is in 64 B of pinned"),
        ("device", "device", UP, "host memory is needed, and 0x.* is the device's"),
        ("pinned", "pinned", DOWN, "device memory is needed"),
        ("device", "pinned", 0, "a copy of kind 0"),
    ],
)
def test_the_direction_of_a_copy(
    api: Any, target: str, source: str, way: int, message: str
) -> None:
    device, pinned, stream = made(api)
    places = {"device": device, "pinned": pinned}
    with refused(api, message):
        api.cudaMemcpyAsync(places[target], places[source], SIZE, way, stream)
    freed(api, device, pinned, stream)


def test_a_copy_stays_within_both_its_buffers(api: Any) -> None:
    device, pinned, stream = made(api)
    for more_device, more_pinned in ((8, 0), (0, 8)):
        with refused(api, "64 B from byte 8 are not within 64 B of"):
            api.cudaMemcpyAsync(device + more_device, pinned + more_pinned, SIZE, UP, stream)
    freed(api, device, pinned, stream)


WITHIN, INFERRED = 3, 4
MAPPED, GLOBAL = 2, 1


def test_mapped_memory_has_an_address_for_each_side(api: Any) -> None:
    host = api.cudaHostAlloc(SIZE, MAPPED)[1]
    device = api.cudaHostGetDevicePointer(host, 0)[1]
    at(host)[...] = np.arange(SIZE)
    assert api.memory.device(device + 8, 2, "the test").tolist() == [8, 9]
    with refused(api, "the test: the device finds 64 B of mapped memory .* at 0x8"), api.noting():
        api.memory.device(host, SIZE, "the test")
    with refused(api, "host memory is needed, and 0x8.* is the device's"), api.noting():
        api.memory.host(device, SIZE, "the test")
    with refused(api, "mapped memory at .* was freed as device memory"):
        api.cudaFree(host)
    with refused(api, "where no memory begins"):
        api.cudaFreeHost(device)
    with refused(api, "no mapped memory begins at"):
        api.cudaHostGetDevicePointer(host + 8, 0)
    with refused(api, "asked for with flags 0, to be mapped"):
        api.cudaHostAlloc(SIZE, 0)
    api.cudaFreeHost(host)
    api.assert_clean()
    at(host)[0] = 1
    with pytest.raises(AssertionError, match="the host wrote beyond or after: 64 B of mapped"):
        api.assert_clean()
    at(host)[0] = 0xDD


def test_managed_memory_has_one_address(api: Any) -> None:
    both = api.cudaMallocManaged(SIZE, GLOBAL)[1]
    at(both)[...] = np.arange(SIZE)
    assert api.memory.device(both + 8, 2, "the test").tolist() == [8, 9]
    with refused(api, "managed memory at .* was freed as pinned memory"):
        api.cudaFreeHost(both)
    api.cudaFree(both)
    api.attributes["ConcurrentManagedAccess"] = 0
    with refused(api, "managed memory was asked for"):
        api.cudaMallocManaged(SIZE, GLOBAL)


def test_a_copy_to_shared_memory_infers_its_way(api: Any) -> None:
    device, pinned, stream = made(api)
    host = api.cudaHostAlloc(SIZE, MAPPED)[1]
    there = api.cudaHostGetDevicePointer(host, 0)[1]
    at(pinned)[...] = np.arange(SIZE)
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    with refused(api, "a copy within the device, and 0x8.* is shared with the host"):
        api.cudaMemcpyAsync(there, device, SIZE, WITHIN, stream)
    api.cudaMemcpyAsync(there, device, SIZE, INFERRED, stream)
    assert at(host)[1] == 0xFF, "nothing happens before the stream is waited for"
    api.cudaStreamSynchronize(stream)
    assert at(host).tolist() == list(range(SIZE))
    api.cudaFreeHost(host)
    freed(api, device, pinned, stream)
    api.assert_clean()


def test_attributes_are_those_of_the_device(api: Any) -> None:
    assert api.cudaDeviceGetAttribute(api.cudaDeviceAttr.cudaDevAttrIntegrated, 0)[1] == 0
    api.attributes["Integrated"] = 1
    assert Cuda(api).attribute("Integrated") == 1


@pytest.mark.parametrize("place", ["device", "pinned"])
def test_memory_freed_before_the_stream_comes_to_it(api: Any, place: str) -> None:
    device, pinned, stream = made(api)
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    free, address = {"device": (api.cudaFree, device), "pinned": (api.cudaFreeHost, pinned)}[place]
    free(address)
    with refused(api, "was freed"):
        api.cudaStreamSynchronize(stream)
    with refused(api, "was freed"):
        api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    other, rest = {"device": (api.cudaFreeHost, pinned), "pinned": (api.cudaFree, device)}[place]
    other(rest)
    api.cudaStreamDestroy(stream)


def test_pageable_memory_makes_the_caller_wait_and_fits_no_graph(api: Any) -> None:
    device, pinned, stream = made(api)
    pageable = np.arange(SIZE, dtype=np.uint8)
    api.cudaMemcpyAsync(device, pageable.ctypes.data, SIZE, UP, stream)
    pageable[...] = 0
    api.cudaMemcpyAsync(pageable.ctypes.data, device, SIZE, DOWN, stream)
    assert pageable.tolist() == list(range(SIZE)), "what went up was kept when its call returned"
    assert api.pageable == [("up", SIZE), ("down", SIZE)]
    api.cudaStreamBeginCapture(stream, 0)
    with refused(api, "pageable memory were copied up while capturing"):
        api.cudaMemcpyAsync(device, pageable.ctypes.data, SIZE, UP, stream)
    api.cudaGraphDestroy(api.cudaStreamEndCapture(stream)[1])
    freed(api, device, pinned, stream)


def test_writes_of_the_host_beyond_a_buffer_or_after_its_end(api: Any) -> None:
    device, pinned, stream = made(api)
    at(pinned + 1)[-1] = 0
    with refused(api, "written beyond its end"):
        api.cudaFreeHost(pinned)
    at(pinned + 1)[-1] = 0xA5
    kept = at(pinned)
    freed(api, device, pinned, stream)
    kept[3] = 7
    with pytest.raises(AssertionError, match="wrote beyond or after: 64 B of pinned"):
        api.assert_clean()
    kept[3] = 0xDD


def test_what_the_host_writes_while_a_copy_up_is_under_way(api: Any) -> None:
    """The real one may have read it already, or not."""
    device, pinned, stream = made(api)
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    at(pinned)[3] = 1
    with refused(api, "the host wrote to 64 B at 0x.* while a copy up was under way"):
        api.cudaStreamSynchronize(stream)
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    api.cudaStreamSynchronize(stream)
    freed(api, device, pinned, stream)
    api.assert_clean()


def test_what_the_host_reads_before_a_copy_down_is_done(api: Any) -> None:
    device, pinned, stream = made(api)
    at(pinned)[...] = 7
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    api.cudaStreamSynchronize(stream)
    api.cudaMemcpyAsync(pinned, device, SIZE, DOWN, stream)
    assert set(at(pinned)) == {0xFF}, "neither what was there nor what will be"
    api.cudaStreamSynchronize(stream)
    assert set(at(pinned)) == {7}
    api.cudaMemcpyAsync(pinned, device, SIZE, DOWN, stream)
    at(pinned)[0] = 1
    with refused(api, "the host wrote to 64 B at 0x.* while a copy down was under way"):
        api.cudaStreamSynchronize(stream)
    freed(api, device, pinned, stream)


def test_a_graph_reads_the_host_when_it_is_launched(api: Any) -> None:
    device, pinned, stream = made(api)
    at(pinned)[...] = 1
    api.cudaStreamBeginCapture(stream, 0)
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    recording = api.cudaStreamEndCapture(stream)[1]
    graph = api.cudaGraphInstantiate(recording, 0)[1]
    for value in (2, 3):
        at(pinned)[...] = value
        api.cudaGraphLaunch(graph, stream)
        api.cudaStreamSynchronize(stream)
        assert set(api.memory.device(device, SIZE, "the test")) == {value}
    api.cudaGraphExecDestroy(graph)
    api.cudaGraphDestroy(recording)
    freed(api, device, pinned, stream)
    api.assert_clean()


def test_nothing_is_freed_while_capturing(api: Any) -> None:
    device, pinned, stream = made(api)
    api.cudaStreamBeginCapture(stream, 0)
    for free, address in ((api.cudaFree, device), (api.cudaFreeHost, pinned)):
        with refused(api, "was freed while capturing"):
            free(address)
    with refused(api, "were asked for while capturing"):
        api.cudaMalloc(8)
    api.cudaGraphDestroy(api.cudaStreamEndCapture(stream)[1])
    freed(api, device, pinned, stream)


# --- streams and events -----------------------------------------------------------------------


def test_a_stream_does_not_wait_for_what_was_put_in_behind_the_mark(api: Any) -> None:
    device, pinned, stream = made(api)
    other, event = api.cudaStreamCreateWithFlags(1)[1], api.cudaEventCreate()[1]
    done = list[str]()
    other.put(lambda: done.append("before"))
    api.cudaEventRecord(event, other)
    other.put(lambda: done.append("behind"))
    api.cudaStreamWaitEvent(stream, event, 0)
    api.cudaEventRecord(event, stream)  # the wait is for the record before
    api.cudaStreamSynchronize(stream)
    assert done == ["before"]
    api.cudaStreamSynchronize(other)
    assert done == ["before", "behind"]
    api.cudaStreamDestroy(other)
    api.cudaEventDestroy(event)
    freed(api, device, pinned, stream)
    api.assert_clean()


def test_a_stream_that_waits_for_the_default_stream(api: Any) -> None:
    with refused(api, "a stream with flags 0 waits for the default stream"):
        api.cudaStreamCreateWithFlags(0)


def test_a_stream_is_destroyed_when_its_work_is_done(api: Any) -> None:
    device, pinned, stream = made(api)
    api.cudaMemcpyAsync(device, pinned, SIZE, UP, stream)
    with refused(api, "was destroyed, and has work to do"):
        api.cudaStreamDestroy(stream)
    api.cudaStreamSynchronize(stream)
    freed(api, device, pinned, stream)
    api.assert_clean()


def test_an_event_of_a_graph_has_no_time(api: Any) -> None:
    stream, event = api.cudaStreamCreateWithFlags(1)[1], api.cudaEventCreate()[1]
    api.cudaStreamBeginCapture(stream, 0)
    api.cudaEventRecord(event, stream)
    recording = api.cudaStreamEndCapture(stream)[1]
    graph = api.cudaGraphInstantiate(recording, 0)[1]
    api.cudaGraphLaunch(graph, stream)
    api.cudaStreamSynchronize(stream)
    with refused(api, "to which no stream has come yet"):
        api.cudaEventElapsedTime(event, event)
    for destroy, thing in (
        (api.cudaGraphExecDestroy, graph),
        (api.cudaGraphDestroy, recording),
        (api.cudaEventDestroy, event),
        (api.cudaStreamDestroy, stream),
    ):
        destroy(thing)


# --- what is made once ------------------------------------------------------------------------


def test_streams_events_and_graphs_are_destroyed_once(api: Any) -> None:
    stream, event = api.cudaStreamCreateWithFlags(1)[1], api.cudaEventCreate()[1]
    api.cudaStreamBeginCapture(stream, 0)
    api.cudaEventRecord(event, stream)
    recording = api.cudaStreamEndCapture(stream)[1]
    graph = api.cudaGraphInstantiate(recording, 0)[1]
    with refused(api, "a recording is needed, and this is graph"):
        api.cudaGraphDestroy(graph)
    destroyers = [
        (api.cudaGraphExecDestroy, graph),
        (api.cudaGraphDestroy, recording),
        (api.cudaEventDestroy, event),
        (api.cudaStreamDestroy, stream),
    ]
    for destroy, thing in destroyers:
        assert len(api.left) == sum(not it.destroyed for _, it in destroyers)
        destroy(thing)
        with refused(api, f"{thing} was destroyed"):
            destroy(thing)
    with refused(api, "was destroyed"):
        api.cudaStreamSynchronize(stream)
    with refused(api, "graph 0x.* was destroyed"):
        api.cudaGraphLaunch(graph, stream)


def test_times_are_of_events_that_a_stream_came_to(api: Any) -> None:
    stream, event = api.cudaStreamCreateWithFlags(1)[1], api.cudaEventCreate()[1]
    api.cudaEventRecord(event, stream)
    with refused(api, "to which no stream has come yet"):
        api.cudaEventElapsedTime(event, event)
    api.cudaStreamSynchronize(stream)
    assert api.cudaEventElapsedTime(event, event) == (0, 0.0)
    api.cudaEventDestroy(event)
    api.cudaStreamDestroy(stream)


def test_what_is_left_fails_the_test(api: Any) -> None:
    device, pinned, stream = made(api)
    with pytest.raises(AssertionError, match=r"not freed: 64 B of device.*pinned.*stream 0x1000"):
        assert_fake_gpus_are_clean()
    freed(api, device, pinned, stream)
    api.assert_nothing_left()


def test_misuse_that_somebody_hid_fails_the_test(api: Any) -> None:
    with contextlib.suppress(AssertionError):
        api.cudaFree(0)
    with pytest.raises(AssertionError, match="was misused: 0x0 was freed"):
        assert_fake_gpus_are_clean()


def test_a_call_to_free_that_fails_has_freed(api: Any) -> None:
    device, pinned, stream = made(api)
    api.failing["cudaFree"] = Error.LAUNCH_FAILURE
    with pytest.raises(DeviceError, match="cudaFree failed"):
        Cuda(api).free_device_buffer(device)
    api.failing.clear()
    assert len(api.left) == 2
    api.cudaFreeHost(pinned)
    api.cudaStreamDestroy(stream)


# --- engines ----------------------------------------------------------------------------------


@pytest.fixture
def context(tiny: Path, api: Any) -> Any:
    """A context of the tiny encoder that nothing is bound to."""
    file = tiny / Bundle.load(tiny).manifest.graph("encoder").file
    engine = FakeTensorRT(api).Runtime(None).deserialize_cuda_engine(str(file).encode())
    return engine.create_execution_context("ours")


def test_a_tensor_is_bound_to_device_memory_that_holds_it(api: Any, context: Any) -> None:
    nbytes = context.engine.nbytes("frames")
    pinned, small = api.cudaMallocHost(nbytes)[1], api.cudaMalloc(nbytes - 1)[1]
    large = api.cudaMalloc(2 * nbytes)[1]
    host = np.zeros(nbytes, np.uint8)
    with refused(api, "frames: device memory is needed, and this is in .* pinned"):
        context.set_tensor_address("frames", pinned)
    with refused(api, "frames: 0x.* is no device memory"):
        context.set_tensor_address("frames", host.ctypes.data)
    with refused(api, "from byte 0 are not within"):
        context.set_tensor_address("frames", small)
    with refused(api, "no multiple of 256"):
        context.set_tensor_address("frames", large + 8)
    with refused(api, "scratch memory of 8 B; the engine needs 1024"):
        context.set_device_memory(large, 8)
    assert context.set_tensor_address("frames", large)
    api.cudaFree(small)
    api.cudaFree(large)
    api.cudaFreeHost(pinned)


def test_tensors_share_no_memory(api: Any, context: Any) -> None:
    stream, memory = api.cudaStreamCreateWithFlags(1)[1], api.cudaMalloc(1 << 16)[1]
    with refused(api, "no address was given for"):
        context.execute_async_v3(int(stream))
    for place, name in enumerate(context.engine.nodes):
        context.set_tensor_address(name, memory + 512 * place)  # frames have more
    context.set_device_memory(memory + (1 << 15), 1024)
    with refused(api, "frames and .* share memory"):
        context.execute_async_v3(int(stream))
    api.cudaFree(memory)
    api.cudaStreamDestroy(stream)


def test_the_work_of_a_context_ends_with_it(api: Any, context: Any) -> None:
    stream, memory = api.cudaStreamCreateWithFlags(1)[1], api.cudaMalloc(1 << 16)[1]
    place = memory
    for name in context.engine.nodes:
        context.set_tensor_address(name, place)
        place += (context.engine.nbytes(name) // 512 + 1) * 512
    context.set_device_memory(place, 1024)
    assert context.execute_async_v3(int(stream))
    api.cudaStreamSynchronize(stream)
    engine = context.engine
    temporary = engine.create_execution_context("ours")
    temporary.addresses, temporary.scratch = dict(context.addresses), place
    assert temporary.execute_async_v3(int(stream))
    del temporary
    with refused(api, "after the context was destroyed"):
        api.cudaStreamSynchronize(stream)
    api.cudaFree(memory)
    api.cudaStreamDestroy(stream)
    with refused(api, "was destroyed"):
        context.execute_async_v3(int(stream))
