"""Coded latents: what went in comes out, or an error; never other tokens."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.latent_coder import (
    LONGEST_RUN,
    MOST_TOKENS,
    LatentCoder,
    largest,
    place_of,
    takes,
)
from vidtok_edge.runtime.coding.packing import bits_for, packed_size

EIGHT = (8, 8, 8, 8, 8)


def scene(count: int, levels: tuple[int, ...], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Tokens that stay for the most part, int32 [count, h, w]."""
    rng = np.random.default_rng([count, *levels, *shape])
    found = [rng.integers(0, prod(levels), shape, dtype=np.int32)]
    while len(found) < count:
        other = rng.integers(0, prod(levels), shape, dtype=np.int32)
        found.append(np.where(rng.random(shape) < 0.2, other, found[-1]).astype(np.int32))
    return np.stack(found)


@settings(max_examples=30, deadline=None)
@given(
    levels=st.lists(st.integers(2, 8), min_size=1, max_size=6).map(tuple),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    count=st.integers(1, 4),
)
def test_tokens_come_back(levels: tuple[int, ...], shape: tuple[int, int], count: int) -> None:
    writer, reader = LatentCoder(levels, *shape), LatentCoder(levels, *shape)
    for number, tokens in enumerate(scene(count, levels, shape)):
        data = writer.encode(tokens)
        assert place_of(data) == number and len(data) <= largest(levels, prod(shape))
        found = reader.decode(data)
        assert found.dtype == np.int32 and found.tolist() == tokens.tolist()


def test_what_stays_takes_few_bytes_and_noise_no_more_than_packed() -> None:
    coder = LatentCoder(EIGHT, 32, 32)
    tokens = scene(1, EIGHT, (32, 32))[0]
    packed = packed_size(1024, bits_for(prod(EIGHT)))
    sizes = [len(coder.encode(tokens)) for _ in range(6)]
    assert sizes[0] == largest(EIGHT, 1024) == packed + 6
    assert sizes[1:] == sorted(sizes[1:], reverse=True) and sizes[-1] < packed / 5


def test_a_run_is_entered_at_its_beginning_alone() -> None:
    writer = LatentCoder(EIGHT, 16, 16)
    scenes = scene(4, EIGHT, (16, 16))
    data = [writer.encode(tokens) for tokens in scenes]
    reader = LatentCoder(EIGHT, 16, 16)
    for number in (1, 2, 3):
        with pytest.raises(ValueError, match=f"number {number} of its run"):
            reader.decode(data[number])
    assert (reader.decode(data[0]) == scenes[0]).all()
    with pytest.raises(ValueError, match="not all there"):
        reader.decode(data[2])  # one is missing
    with pytest.raises(ValueError, match="not all there"):
        reader.decode(data[3])
    assert (reader.decode(data[0]) == scenes[0]).all()  # and begins anew


def test_a_run_that_is_full_ends() -> None:
    writer, reader = LatentCoder((2,), 1, 2), LatentCoder((2,), 1, 2)
    tokens = np.array([[1, 0]], np.int32)
    places = []
    for _ in range(LONGEST_RUN + 2):
        data = writer.encode(tokens)
        places.append(place_of(data))
        assert (reader.decode(data) == tokens).all()
    assert places == [*range(LONGEST_RUN), 0, 1]


@settings(max_examples=80, deadline=None)
@given(at=st.integers(0, 10_000), change=st.integers(1, 255), cut=st.booleans())
def test_damage_is_an_error(at: int, change: int, cut: bool) -> None:
    writer, reader = LatentCoder(EIGHT, 8, 8), LatentCoder(EIGHT, 8, 8)
    scenes = scene(2, EIGHT, (8, 8))
    reader.decode(writer.encode(scenes[0]))
    data = bytearray(writer.encode(scenes[1]))
    at %= len(data)
    if cut:
        del data[at:]
    else:
        data[at] ^= change
    try:
        found = reader.decode(bytes(data))
    except ValueError:
        return
    assert (found == scenes[1]).all()  # a bit of padding


def test_the_latents_before_matter() -> None:
    """Another latent before, and what follows is refused by its check, not read as other tokens."""
    scenes = scene(3, EIGHT, (16, 16))
    writer = LatentCoder(EIGHT, 16, 16)
    writer.encode(scenes[0])
    second = writer.encode(scenes[1])
    reader = LatentCoder(EIGHT, 16, 16)
    reader.decode(LatentCoder(EIGHT, 16, 16).encode(scenes[2]))
    with pytest.raises(ValueError, match=r"words|lanes|tokens"):
        reader.decode(second)


@pytest.mark.parametrize(
    ("levels", "fits"), [(EIGHT, True), ((8, 5, 2), True), ((), False), ((9, 8), False)]
)
def test_which_planes_are_taken(levels: tuple[int, ...], fits: bool) -> None:
    assert takes(levels, 1024) is fits
    assert not takes(levels, MOST_TOKENS + 1)


@pytest.mark.parametrize("data", [b"", b"\1", b"\1\0", b"\2\0\0", b"\xff" * 9])
def test_what_is_no_coded_latent_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        LatentCoder(EIGHT, 4, 4).decode(data)
