"""The streaming decoder over a step in numpy: every frame once, from the right latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from any_model import kinds, quick, sizes
from fake_step import (
    CODEBOOK,
    FakeStep,
    fake_manifest,
    frame_of,
    picture_content,
    pictures_from,
    tokens_from,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stamps import span, stamp

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime import Latents, Picture, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.manifest.manifest import Manifest


def opened(manifest: Manifest) -> tuple[StreamDecoder, FakeStep]:
    step = FakeStep(manifest, "decoder")
    return StreamDecoder(manifest, step), step


def tokens(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32).reshape(-1, 1, 1)


def latents(index: int, *values: int, frames_real: int, slot: int = 0) -> Latents:
    """All frames are given to the first one: a decoder asks for their number alone."""
    shares = [frames_real, *[0] * (len(values) - 1)]
    return Latents(
        slot=slot,
        index=index,
        tokens=tokens(*values),
        mean=None,
        logvar=None,
        spans=tuple(span(0, real, stamp(0)) for real in shares),
    )


def content(pictures: list[Picture]) -> list[tuple[int, int]]:
    assert [p.frame for p in pictures] == list(range(len(pictures)))
    return [picture_content(p.pixels) for p in pictures]


def round_trip(manifest: Manifest, values: list[int]) -> tuple[list[Picture], FakeStep]:
    encoder = StreamEncoder(manifest, FakeStep(manifest, "encoder"))
    decoder, step = opened(manifest)
    pictures: list[Picture] = []
    with encoder, decoder:
        for value in values:
            for part in encoder.push(frame_of(value)):
                pictures += decoder.push(part)
        for part in encoder.finish():
            pictures += decoder.push(part)
        pictures += decoder.finish()
    return pictures, step


@quick
@given(kinds, sizes, st.integers(0, 40), st.sampled_from(["fsq", "kl"]))
def test_decode_of_encode_gives_every_frame_once(
    kind: Any, size: tuple[int, int], frames: int, latent: Any
) -> None:
    manifest = fake_manifest(f=size[0], chunk=size[1], latent=latent, **kind)
    values = list(range(1, frames + 1))
    pictures, step = round_trip(manifest, values)
    expected = tokens_from(values, manifest) if values else []
    if kind["causal"]:
        assert content(pictures) == pictures_from(expected, frames, manifest)
    else:  # the window's latents are its own
        assert [p.frame for p in pictures] == list(range(frames))
    many = kind["version"] == "1.1" and len(expected) > 1
    assert step.ends == ([(0, len(expected))] if many else [])


@dataclass
class Stream:
    values: list[int] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


@quick
@given(
    st.sampled_from(["1.0", "1.1"]),
    sizes,
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("pppppppfr")), max_size=80),
)
def test_interleaved_streams_are_as_if_alone(
    version: Any, size: tuple[int, int], streams: int, steps: list[tuple[int, str]]
) -> None:
    manifest = fake_manifest(f=size[0], chunk=size[1], streams=streams, version=version)
    decoder, step = opened(manifest)
    now = [Stream() for _ in range(streams)]
    ends = []

    def take(pictures: list[Picture]) -> None:
        for picture in pictures:
            now[picture.slot].pictures.append(picture)

    for count, (number, what) in enumerate(steps + [(i, "f") for i in range(streams)], 1):
        slot = number % streams
        stream = now[slot]
        if what == "p":
            take(
                decoder.push(latents(len(stream.values), count, frames_real=1, slot=slot))
                if not stream.values
                else decoder.push_values(tokens(count), slot=slot)
            )
            stream.values.append(count)
            continue
        if what == "f":
            take(decoder.finish(slot))
        else:
            decoder.reset(slot)
        total = decoder.framing.first_frame(len(stream.values))
        expected = pictures_from(stream.values, total, manifest)
        got = content(stream.pictures)
        assert got == (expected if what == "f" else expected[: len(got)])
        if what == "f" and version == "1.1" and len(stream.values) > 1:
            ends.append((slot, len(stream.values)))
        now[slot] = Stream()
    assert step.ends == ends
    assert "end" not in step.inputs or not step.inputs["end"].any()


@quick
@given(kinds, sizes, st.integers(1, 12), st.data())
def test_bare_arrays_in_any_pieces(
    kind: Any, size: tuple[int, int], count: int, data: st.DataObject
) -> None:
    f, chunk = size
    manifest = fake_manifest(f=f, chunk=chunk, **kind)
    count = count if kind["causal"] else -(-count // chunk) * chunk
    values = tokens(*range(1, count + 1))
    decoder, _ = opened(manifest)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    pictures: list[Picture] = []
    for a, b in zip([0, *cuts], [*cuts, count], strict=True):
        pictures += decoder.push_values(values[a:b])
    pictures += decoder.finish()
    again = decoder.push_values(values)
    again += decoder.finish()
    assert len(pictures) == decoder.framing.first_frame(count)
    assert [p.frame for p in pictures] == [p.frame for p in again]
    assert all((a.pixels == b.pixels).all() for a, b in zip(pictures, again, strict=True))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_tail_leaves_its_repetitions_out(version: Any) -> None:
    decoder, _ = opened(fake_manifest(version=version))
    pictures = decoder.push_values(tokens(1, 2, 3), frames_real=7)
    pictures += decoder.finish()
    assert [p.frame for p in pictures] == list(range(7))


def test_pictures_are_the_callers_own() -> None:
    decoder, _ = opened(fake_manifest(version="1.0"))
    pictures = decoder.push_values(tokens(1, 2))
    kept = [p.pixels.copy() for p in pictures]
    decoder.push_values(tokens(3, 4))
    assert all((p.pixels == k).all() for p, k in zip(pictures, kept, strict=True))


def test_a_step_that_fails_in_the_last_call_says_why() -> None:
    decoder, step = opened(fake_manifest())
    decoder.push_values(tokens(1, 2))
    step.fail_after = len(step.runs)
    with pytest.raises(RuntimeError, match="the device was lost"):
        decoder.finish()
    with pytest.raises(StreamError, match="closed"):
        decoder.push_values(tokens(3))


def test_a_stream_that_ends_frees_the_others() -> None:
    decoder, step = opened(fake_manifest(version="1.0", streams=2, chunk=2))
    decoder.push_values(tokens(1), slot=1)
    assert decoder.push_values(tokens(1, 2), slot=0) == []
    decoder.reset(1)
    assert {p.slot for p in decoder.finish(1)} == {0} and step.runs == [[0]]


def test_a_part_of_a_window_is_refused() -> None:
    decoder, _ = opened(fake_manifest(causal=False, version="1.0", chunk=4))
    decoder.push_values(tokens(1, 2, 3))
    with pytest.raises(StreamError, match=r"windows of 4 latents; the last one has 3\. Push whole"):
        decoder.finish()
    decoder.reset()
    assert len(decoder.push_values(tokens(1, 2, 3, 4))) == 16


def test_a_lost_latent_is_refused() -> None:
    decoder, _ = opened(fake_manifest())
    decoder.push(latents(0, 1, frames_real=1))
    with pytest.raises(StreamError, match=r"Latent 2 of slot 0 came where 1 was due: one was lost"):
        decoder.push(latents(2, 3, frames_real=4))
    decoder.push(latents(1, 2, frames_real=4))
    with pytest.raises(StreamError, match=r"another stream began\. finish\(\) or reset\(\)"):
        decoder.push(latents(0, 1, frames_real=1))  # the encoder was reset, the decoder not
    decoder.reset()
    decoder.push(latents(0, 1, frames_real=1))


def test_nothing_follows_a_tail() -> None:
    decoder, _ = opened(fake_manifest())
    decoder.push_values(tokens(1, 2), frames_real=3)
    with pytest.raises(StreamError, match=r"Latent 2 follows a tail: .* 3 frames, not 5\. finish"):
        decoder.push_values(tokens(3))


@pytest.mark.parametrize("real", [-1, 6])
def test_more_frames_than_the_latents_stand_for(real: int) -> None:
    decoder, _ = opened(fake_manifest())
    with pytest.raises(StreamError, match=rf"2 latents stand for 0 to 5 frames, not {real}"):
        decoder.push_values(tokens(1, 2), frames_real=real)


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (tokens(1).astype(np.int64), r"int64 \[1, 1, 1\]\. Convert them to int32\."),
        (tokens(1)[0], r"int32 \[1, 1\]\. Give one as values\[None\]\."),
        (np.zeros((1, 2, 1), np.int32), r"int32 \[1, 2, 1\]\. Decode with the bundle"),
    ],
)
def test_latents_that_do_not_fit(values: Any, got: str) -> None:
    decoder, _ = opened(fake_manifest())
    with pytest.raises(StreamError, match=rf"Latents are int32 \[n, 1, 1\], got {got}"):
        decoder.push_values(values)


@pytest.mark.parametrize("given", [tokens(1), [latents(0, 1, frames_real=1)], None])
def test_what_is_no_latents(given: Any) -> None:
    decoder, _ = opened(fake_manifest())
    said = f"Got {type(given).__name__}; push takes Latents, .* push_values"
    with pytest.raises(StreamError, match=said):
        decoder.push(given)


@pytest.mark.parametrize("values", [np.int32(1), [[[1]]], None])
def test_what_is_no_array_of_latents(values: Any) -> None:
    decoder, _ = opened(fake_manifest())
    said = f"An array of latents is of type {type(values).__name__}. Give a NumPy array"
    with pytest.raises(StreamError, match=said):
        decoder.push_values(values)


@pytest.mark.parametrize("value", [-1, CODEBOOK])
def test_tokens_of_another_variant(value: int) -> None:
    decoder, step = opened(fake_manifest())
    with pytest.raises(StreamError, match=rf"Tokens lie in 0 to 32767, got .*{value}"):
        decoder.push_values(tokens(1, value))
    assert step.runs == [], "refused before any of it ran"


def test_a_stream_of_one_latent_needs_no_end_call() -> None:
    decoder, step = opened(fake_manifest())
    assert [p.frame for p in decoder.push_values(tokens(1))] == [0]
    assert decoder.finish() == []
    assert len(step.runs) == 1
