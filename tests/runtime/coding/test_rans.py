"""Lanes of a range coder: what goes in comes out, at about the length that frequencies say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.rans import BITS, Decoder, encode, parts

TOTAL = 1 << BITS


def frequencies(rng: np.random.Generator, count: int, symbols: int) -> NDArray[np.int64]:
    """[symbols, n], from even to nearly certain."""
    likely = rng.dirichlet(np.full(symbols, 0.2), count).T
    found = np.floor(likely * (TOTAL - symbols)).astype(np.int64) + 1
    found[found.argmax(0), np.arange(count)] += TOTAL - found.sum(0)
    return found


def drawn(rng: np.random.Generator, freqs: NDArray[np.int64]) -> NDArray[np.int64]:
    below = freqs.cumsum(0) <= rng.integers(0, TOTAL, freqs.shape[1])
    return np.asarray(below.sum(0), np.int64)


def encoded(
    freqs: NDArray[np.int64], symbols: NDArray[np.int64], sizes: list[int], check: int
) -> bytes:
    own = freqs[symbols, np.arange(len(symbols))]
    starts = freqs.cumsum(0)[symbols, np.arange(len(symbols))] - own
    return encode(starts, own, sizes, check)


def decoded(
    data: bytes, freqs: NDArray[np.int64], sizes: list[int]
) -> tuple[NDArray[np.int32], int]:
    decoder = Decoder(data, sum(sizes))
    ends = np.cumsum([0, *sizes])
    found = [decoder.take(freqs[:, a:b]) for a, b in pairwise(ends)]
    return np.concatenate(found), decoder.finish()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=6),
    symbols=st.integers(2, 8),
    check=st.integers(0, (1 << 32) - 1),
    seed=st.integers(0, 1 << 30),
)
def test_symbols_come_back(sizes: list[int], symbols: int, check: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    freqs = frequencies(rng, sum(sizes), symbols)
    given_ = drawn(rng, freqs)
    data = encoded(freqs, given_, sizes, check)
    found, told = decoded(data, freqs, sizes)
    assert found.tolist() == given_.tolist() and told == check


@pytest.mark.parametrize("count", [5120, 9000])
def test_bytes_are_near_to_what_frequencies_say(count: int) -> None:
    rng = np.random.default_rng(count)
    freqs = frequencies(rng, count, 8)
    symbols = drawn(rng, freqs)
    ideal = -np.log2(freqs[symbols, np.arange(count)] / TOTAL).sum() / 8
    assert ideal < len(encoded(freqs, symbols, [count], 7)) < ideal + 50 + count / 60


@pytest.mark.parametrize("count", [1, 384, 385, 8192, 8193, 30000])
def test_parts_cover_all_symbols(count: int) -> None:
    found = parts(count)
    assert found[-1][0] == count and [end for end, _ in found] == sorted(end for end, _ in found)
    assert [lanes for _, lanes in found] == [256, 32, 4][-len(found) :]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30), length=st.integers(0, 200), data=st.data())
def test_other_bytes_end_with_an_error_or_another_check(
    seed: int, length: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    freqs = frequencies(rng, 500, 8)
    whole = bytearray(encoded(freqs, drawn(rng, freqs), [300, 200], 12345))
    if length < len(whole):
        whole[length] ^= data.draw(st.integers(1, 255))
    else:
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        found, _ = decoded(bytes(whole), freqs, [300, 200])
    except ValueError:
        return
    assert found.shape == (500,) and 0 <= found.min() <= found.max() < 8
