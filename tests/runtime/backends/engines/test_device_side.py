"""Frames and tokens that stay on the GPU, on one that is made of host memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from fake_gpu import Error, FakeApi
from fake_tensorrt import fake_engine
from numpy.typing import NDArray

from vidtok_edge.errors import DeviceError, StreamError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.arrays import DeviceArray, Place
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.memory import Memory
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder

How = Literal["host", "dlpack", "interface", "pitched"]
WAYS: tuple[How, ...] = ("host", "dlpack", "interface", "pitched")
SIZE, PITCH = (16, 16, 3), 64


class ByInterface:
    """An array by `__cuda_array_interface__` alone, as of a decoder's surface."""

    def __init__(self, array: DeviceArray, stream: int | None = None) -> None:
        self.__cuda_array_interface__ = array.__cuda_array_interface__ | {"stream": stream}


def on_gpu(api: FakeApi, frame: NDArray[Any], how: How = "dlpack") -> Any:
    """`frame` in device memory of `api`; freed by the caller through `address_of`."""
    if how == "host":
        return frame
    rows, width = len(frame), frame[0].nbytes
    pitch = PITCH if how == "pitched" else width
    address = api.memory.allocate("device", rows * pitch)
    for row in range(rows):
        there = api.memory.device(address + row * pitch, width, "the test")
        there[...] = frame[row].reshape(-1).view(np.uint8)
    array = DeviceArray(
        address=address,
        shape=frame.shape,
        dtype=frame.dtype,
        strides=(pitch, *frame.strides[1:]),
    )
    return ByInterface(array) if how == "interface" else array


def address_of(frame: Any) -> int | None:
    if isinstance(frame, np.ndarray):
        return None
    return int(frame.__cuda_array_interface__["data"][0])


def freed(api: FakeApi, frame: Any) -> None:
    if (address := address_of(frame)) is not None:
        api.memory.free(("device",), address)


def on_host(api: FakeApi, array: DeviceArray) -> NDArray[Any]:
    """A copy of what lies on the fake GPU."""
    memory = api.memory.device(array.address, array.nbytes, "the test")
    return memory.view(array.dtype).reshape(array.shape).copy()


def encoder_of(
    folder: Path, api: FakeApi, tokens_on: Place = "host", memory: Memory = Memory.DEVICE
) -> StreamEncoder:
    manifest = Bundle.load(folder).manifest
    graph = manifest.graph("encoder")
    step = fake_engine(graph, folder / graph.file, api, outputs_on=tokens_on, memory=memory)
    return StreamEncoder(manifest, step, tokens_on)


def frames_of(seed: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE), np.uint8)


# --- frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", Memory)
@pytest.mark.parametrize("seed", range(6))
def test_frames_of_host_and_device_give_equal_tokens(tiny: Path, seed: int, memory: Memory) -> None:
    """Mixed within a chunk, in two slots of which one pauses, resets, and ends early."""
    random = np.random.default_rng(seed)
    clips = [frames_of(2 * seed + slot, 23) for slot in range(2)]
    plan = [
        (int(s), int(w))
        for s, w in zip(random.integers(0, 2, 46), random.integers(0, 4, 46), strict=False)
    ]

    def streamed(mixed: bool, memory: Memory) -> list[tuple[int, int, bytes]]:
        api, found, at = FakeApi(), [], [0, 0]
        with encoder_of(tiny, api, memory=memory) as encoder:
            for slot, way in plan:
                if at[slot] == len(clips[slot]):
                    continue
                frame = on_gpu(api, clips[slot][at[slot]], WAYS[way] if mixed else "host")
                at[slot] += 1
                results = encoder.push(frame, slot=slot)
                freed(api, frame)  # whoever owns it has it back
                if at[slot] == 9 and slot:
                    encoder.reset(slot)
                found += results
            for slot in (0, 1):
                found += encoder.finish(slot)
        api.assert_nothing_left()
        return [(it.slot, it.index, it.tokens.tobytes()) for it in found if it.tokens is not None]

    wanted = streamed(False, Memory.DEVICE)
    assert len({tokens for _, _, tokens in wanted}) > 4, "the clips are told apart"
    assert streamed(True, memory) == wanted


def test_a_device_frame_does_not_visit_the_host(tiny: Path) -> None:
    api = FakeApi()
    there, here = on_gpu(api, frames_of(1, 1)[0]), frames_of(2, 1)[0]
    size, controls = here.nbytes, [("up", 2), ("up", 2), ("down", 32)]
    with encoder_of(tiny, api) as encoder:
        api.copies.clear()
        assert encoder.push(there), "the first frame stands for a chunk"
        assert api.copies == [("within", size)] * 4 + controls
        api.copies.clear()
        for frame in (here, here, there, here):
            encoder.push(frame)
        sent = [("up", 2 * size), ("up", size)]
        assert api.copies == [("within", size), *sent, *controls], "neighbours go together"
    freed(api, there)


@pytest.mark.parametrize("named", [False, True])
def test_a_frame_is_read_when_its_stream_has_written_it(tiny: Path, named: bool) -> None:
    """On the fake GPU a stream does nothing until somebody waits for it."""
    api = FakeApi()
    frame = frames_of(2, 1)[0]
    there = on_gpu(api, np.zeros_like(frame))
    stream = Cuda(api).stream()

    def write() -> None:
        memory = api.memory.device(there.address, frame.nbytes, "the test")
        memory[...] = frame.reshape(-1)

    stream.put(write)
    with encoder_of(tiny, api) as encoder:
        late = encoder.push(there, stream=int(stream) if named else None, slot=0)
        late += encoder.push(np.zeros_like(frame), slot=1)
        late += encoder.finish(0) + encoder.finish(1)
    got = {it.slot: it.tokens for it in late}[0]
    assert got is not None
    written = bool((got > 0).any())
    assert written == named, "who names no stream says that the frame is there already"
    Cuda(api).wait(stream)
    Cuda(api).free_stream(stream)
    freed(api, there)


def test_the_interface_names_the_stream(tiny: Path) -> None:
    api = FakeApi()
    there = on_gpu(api, np.zeros(SIZE, np.uint8))
    stream = Cuda(api).stream()
    written: list[int] = []
    stream.put(lambda: written.append(1))
    with encoder_of(tiny, api) as encoder:
        encoder.push(ByInterface(there, int(stream)))
        assert written == [1]
    Cuda(api).free_stream(stream)
    freed(api, there)


# --- what cannot be taken ---------------------------------------------------------------------


def test_frames_that_are_not_what_they_should_be(tiny: Path) -> None:
    api = FakeApi()
    good = frames_of(3, 1)[0]
    turned = on_gpu(api, good)
    columns = DeviceArray(
        address=turned.address, shape=SIZE, dtype=np.dtype(np.uint8), strides=(3, 48, 1)
    )
    host = DeviceArray(address=good.ctypes.data, shape=SIZE, dtype=good.dtype)
    small = on_gpu(api, good[:8])
    floats = on_gpu(api, good.astype(np.float32))
    with encoder_of(tiny, api) as encoder:
        for frame, said in (
            (columns, r"not side by side \(strides of \[3, 48, 1\] bytes\)"),
            (host, "lies in no GPU's memory, and this engine runs on GPU 0"),
            (small, r"The frame is uint8 \[8, 16, 3\]; this bundle takes uint8 \[16, 16, 3\]"),
            (floats, r"The frame is float32 \[16, 16, 3\]"),
        ):
            with pytest.raises(StreamError, match=said):
                encoder.push(frame)
        api.number = 1
        with pytest.raises(StreamError, match="the memory of GPU 1, and this engine runs on GPU 0"):
            encoder.push(turned)
        api.number = 0
        assert encoder.push(turned)[0].index == 0, "what was refused is no part of the stream"
    for frame in (turned, small, floats):
        freed(api, frame)


@pytest.mark.parametrize("how", ["dlpack", "pitched"])
@pytest.mark.parametrize(
    "call",
    [
        "cudaPointerGetAttributes",
        "cudaEventRecord",
        "cudaStreamWaitEvent",
        "cudaStreamSynchronize",
        "cudaMemcpyAsync",
        "cudaMemcpy2DAsync",
    ],
)
def test_a_call_that_fails_closes_the_stream(tiny: Path, call: str, how: How) -> None:
    if (call, how) in {("cudaMemcpyAsync", "pitched"), ("cudaMemcpy2DAsync", "dlpack")}:
        pytest.skip("that way does not call it")
    api = FakeApi()
    frame = on_gpu(api, frames_of(4, 1)[0], how)
    stream = Cuda(api).stream()
    encoder = encoder_of(tiny, api)
    api.failing[call] = Error.LAUNCH_FAILURE
    with pytest.raises(DeviceError, match=f"{call} failed"):
        encoder.push(frame, stream=int(stream))
    api.failing.clear()
    with pytest.raises(StreamError, match="closed"):
        encoder.push(frame)
    encoder.close()
    Cuda(api).free_stream(stream)
    freed(api, frame)
    api.assert_nothing_left()


# --- tokens -----------------------------------------------------------------------------------


def test_tokens_stay_on_the_device(tiny: Path) -> None:
    frames = frames_of(5, 17)
    wanted_api, api = FakeApi(), FakeApi()
    with encoder_of(tiny, wanted_api) as host, encoder_of(tiny, api, "device") as encoder:
        api.copies.clear()
        for frame in frames:
            wanted = host.push(frame)
            got = encoder.push(frame)
            assert len(got) == len(wanted)
            for mine, theirs in zip(got, wanted, strict=True):
                assert isinstance(mine.tokens, DeviceArray)
                np.testing.assert_array_equal(on_host(api, mine.tokens), theirs.tokens)
                for item, other in zip(mine, theirs, strict=True):
                    np.testing.assert_array_equal(on_host(api, item.values), other.values)
        assert {way for way, _ in api.copies} == {"up"}, "nothing came down"


def test_tokens_are_read_before_the_next_call_writes_there(tiny: Path) -> None:
    """What PyTorch was told to do with them waits in its stream, the default one."""
    api, frames = FakeApi(), frames_of(6, 9)
    read: list[list[NDArray[Any]]] = [[], []]
    with encoder_of(tiny, api, "device") as encoder:
        for frame in frames:
            for latents in encoder.push(frame):
                tokens: Any = latents.tokens
                read[0].append(on_host(api, tokens))
                api.default.put(lambda it=tokens: read[1].append(on_host(api, it)))  # type: ignore[misc]
        api.default.do()
    assert len(read[0]) == 3 and len({tokens.tobytes() for tokens in read[0]}) == 3
    np.testing.assert_array_equal(read[1], read[0])


def test_a_decoder_takes_tokens_from_the_device(tiny: Path) -> None:
    """They visit the host there, which holds them to their range."""
    api = FakeApi()
    manifest = Bundle.load(tiny).manifest
    graph = manifest.graph("decoder")
    tokens = np.random.default_rng(6).integers(0, 9, (3, 2, 2), np.int32)
    wanted: list[NDArray[Any]] = []
    got: list[NDArray[Any]] = []
    with StreamDecoder(manifest, fake_engine(graph, tiny / graph.file, api)) as decoder:
        for values, pictures in ((tokens, wanted), (on_gpu(api, tokens), got)):
            found = decoder.push_values(values) + decoder.finish()
            pictures += [picture.pixels for picture in found]
            freed(api, values)
        assert len(got) == len(wanted) > 0
        np.testing.assert_array_equal(got, wanted)
        wrong = on_gpu(api, np.full((1, 2, 2), 99_999, np.int32))
        with pytest.raises(StreamError, match="Tokens lie in 0 to"):
            decoder.push_values(wrong)
        freed(api, wrong)
