"""A range coder: what goes in comes out, at the length that frequencies say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.rans import BITS, Decoder, encode

TOTAL = 1 << BITS


def frequencies(rng: np.random.Generator, count: int, symbols: int) -> NDArray[np.int64]:
    """[symbols, n], from even to nearly certain."""
    likely = rng.dirichlet(np.full(symbols, 0.2), count).T
    found = np.floor(likely * (TOTAL - symbols)).astype(np.int64) + 1
    found[found.argmax(0), np.arange(count)] += TOTAL - found.sum(0)
    return found


def bounds_of(freqs: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros_like(freqs[:1]), freqs.cumsum(0)])


def drawn(rng: np.random.Generator, freqs: NDArray[np.int64]) -> NDArray[np.int64]:
    below = freqs.cumsum(0) <= rng.integers(0, TOTAL, freqs.shape[1])
    return np.asarray(below.sum(0), np.int64)


def encoded(freqs: NDArray[np.int64], symbols: NDArray[np.int64], check: int) -> bytes:
    at = symbols, np.arange(len(symbols))
    return encode(bounds_of(freqs)[at].tolist(), freqs[at].tolist(), check)


def decoded(data: bytes, freqs: NDArray[np.int64], sizes: list[int]) -> tuple[list[int], int]:
    decoder, count = Decoder(data), len(freqs) + 1
    found: list[int] = []
    for first, last in pairwise(np.cumsum([0, *sizes])):
        bounds = bounds_of(freqs[:, first:last]).T.reshape(-1)
        found += [place % count for place in decoder.take(bounds.tolist(), count)]
    return found, decoder.finish()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 900), min_size=1, max_size=6),
    symbols=st.integers(2, 8),
    check=st.integers(0, (1 << 32) - 1),
    seed=st.integers(0, 1 << 30),
)
def test_symbols_come_back(sizes: list[int], symbols: int, check: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    freqs = frequencies(rng, sum(sizes), symbols)
    given_ = drawn(rng, freqs)
    found, told = decoded(encoded(freqs, given_, check), freqs, sizes)
    assert found == given_.tolist() and told == check


@pytest.mark.parametrize("count", [1, 5120, 9000])
def test_bytes_are_as_many_as_frequencies_say(count: int) -> None:
    rng = np.random.default_rng(count)
    freqs = frequencies(rng, count, 8)
    symbols = drawn(rng, freqs)
    ideal = -np.log2(freqs[symbols, np.arange(count)] / TOTAL).sum() / 8
    assert ideal < len(encoded(freqs, symbols, 7)) < ideal + 4 + 2  # the check, and whole bytes


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30), length=st.integers(0, 200), data=st.data())
def test_other_bytes_end_with_an_error_or_another_check(
    seed: int, length: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    freqs = frequencies(rng, 500, 8)
    symbols = drawn(rng, freqs)
    whole = bytearray(encoded(freqs, symbols, 12345))
    if length < len(whole):
        whole[length] ^= data.draw(st.integers(1, 255))
    else:
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        found, check = decoded(bytes(whole), freqs, [300, 200])
    except ValueError:
        return
    assert len(found) == 500 and all(0 <= one < 8 for one in found)
    assert (found, check) != (symbols.tolist(), 12345)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "0 bytes do not begin"),
        (b"\0\0\0\1", "4 bytes do not begin"),
        (b"\1\0\0\0\0", "5 bytes do not begin"),  # below 2^32
        (b"\1\0\0\0\1\0", "6 bytes do not begin"),  # five would hold it
        (b"\1\0\0\0\1\2\2", "do not end where"),  # a word that no symbol asks for
    ],
)
def test_what_encode_cannot_have_written_is_refused(data: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Decoder(data).finish()
