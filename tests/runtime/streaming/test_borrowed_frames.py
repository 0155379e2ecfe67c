"""Frames of other libraries into a stream on the host, and tokens that are not copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vidtok_edge.errors import StreamError, UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.arrays import DeviceArray

SIZE = (16, 16, 3)


def frames_of(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *SIZE), np.uint8)


class ByDlpack:
    """An array of which nothing is known but that it speaks DLPack."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **asked: Any) -> Any:
        return self.array.__dlpack__()


def tokens_of(bundle: Bundle, frames: Any, convert: Any) -> list[bytes]:
    with bundle.encoder("cpu") as encoder:
        found = [it for frame in frames for it in encoder.push(convert(frame))] + encoder.finish()
    return [latents.values.tobytes() for latents in found]


def test_frames_by_dlpack_give_the_tokens_of_numpys(tiny: Path) -> None:
    bundle, frames = Bundle.load(tiny), frames_of(11)
    wanted = tokens_of(bundle, frames, np.asarray)
    assert len(set(wanted)) > 2
    assert tokens_of(bundle, frames, ByDlpack) == wanted


def test_frames_of_torch_give_the_tokens_of_numpys(tiny: Path) -> None:
    torch = pytest.importorskip("torch")
    bundle, frames = Bundle.load(tiny), frames_of(11)
    planar = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()  # as models have them
    wanted = tokens_of(bundle, frames, np.asarray)
    assert tokens_of(bundle, planar.permute(0, 2, 3, 1), lambda frame: frame) == wanted


def test_a_frame_is_copied_before_push_returns(tiny: Path) -> None:
    bundle, frames = Bundle.load(tiny), frames_of(7)
    memory = np.zeros(SIZE, np.uint8)

    def lent(frame: NDArray[np.uint8]) -> ByDlpack:
        memory[...] = frame
        return ByDlpack(memory)

    assert tokens_of(bundle, frames, lent) == tokens_of(bundle, frames, np.asarray)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ([1, 2], "Frame 0 of slot 0 is of type list. Give a NumPy array"),
        (ByDlpack(np.zeros((8, 8, 3), np.uint8)), r"The frame is uint8 \[8, 8, 3\]; this bundle"),
        (
            DeviceArray(address=4096, shape=SIZE, dtype=np.dtype(np.uint8)),
            "Frame 0 of slot 0 is on GPU 0, and this backend reads arrays of the host",
        ),
    ],
)
def test_what_is_no_frame_is_refused_and_counts_for_nothing(
    tiny: Path, frame: Any, said: str
) -> None:
    with Bundle.load(tiny).encoder("cpu") as encoder:
        with pytest.raises(StreamError, match=said):
            encoder.push(frame)
        [latents] = encoder.push(frames_of(1)[0])
        assert (latents.index, latents.first_frame) == (0, 0)


def test_tokens_are_not_copied_on_request(tiny: Path) -> None:
    bundle, frames = Bundle.load(tiny), frames_of(9)
    with bundle.encoder("cpu") as host, bundle.encoder("cpu", tokens_on="device") as encoder:
        seen = []
        for frame in frames:
            for mine, theirs in zip(encoder.push(frame), host.push(frame), strict=True):
                assert mine.tokens is not None
                np.testing.assert_array_equal(np.from_dlpack(mine.tokens), theirs.tokens)
                seen.append(mine.tokens)
        assert np.shares_memory(seen[0], seen[1]), "they are where the step leaves them"
        np.testing.assert_array_equal(seen[0], seen[-1], "valid until the next call")


def test_tokens_lie_on_the_host_or_on_the_device(tiny: Path) -> None:
    with pytest.raises(UsageError, match="tokens_on is 'cuda'; use host or device"):
        Bundle.load(tiny).encoder("cpu", tokens_on="cuda")  # type: ignore[arg-type]


def test_a_decoder_takes_tokens_by_dlpack(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    tokens = np.random.default_rng(1).integers(0, 9, (3, 2, 2), np.int32)
    with bundle.decoder("cpu") as decoder:
        wanted = decoder.push_values(tokens) + decoder.finish()
        got = decoder.push_values(ByDlpack(tokens)) + decoder.finish()
        assert len(got) == len(wanted) > 0
        for mine, theirs in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(mine.pixels, theirs.pixels)
        with pytest.raises(StreamError, match="An array of latents is of type str"):
            decoder.push_values("tokens")
