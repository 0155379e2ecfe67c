"""Streaming histograms: nothing lost or counted twice, in constant memory, and resumable."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from vidtok_edge.calib.histogram import BINS, Histogram, UnusableValues

Array = NDArray[Any]
LARGE = 2.0**112
values = arrays.arrays(
    np.float32,
    arrays.array_shapes(max_dims=3, max_side=8),
    elements=st.floats(-LARGE, LARGE, width=32) | st.floats(-3, 3, width=32),
)


def histogram_of(*tensors: torch.Tensor) -> Histogram:
    histogram = Histogram()
    for tensor in tensors:
        histogram.update(tensor)
    return histogram


@given(st.lists(values, min_size=1, max_size=5))
@settings(max_examples=50)
def test_every_value_is_counted_in_its_bin(parts: list[Array]) -> None:
    histogram = histogram_of(*map(torch.from_numpy, parts))
    together = np.sort(np.concatenate([part.ravel() for part in parts]).astype(np.float64))
    assert histogram.count == together.size
    assert (histogram.low, histogram.high) == (together[0], together[-1])
    # Float32 rounds the distance from -limit: a value may land in the bin beside its own.
    for shift, side in ((-1.01, np.less_equal), (1.01, np.greater_equal)):
        below = np.searchsorted(together, histogram.edges[1:] + shift * histogram.bin_width)
        assert side(below, np.cumsum(histogram.counts)).all()


@pytest.mark.slow
@given(st.lists(values, min_size=1, max_size=5))
@settings(max_examples=50)
def test_the_support_does_not_depend_on_the_order(parts: list[Array]) -> None:
    tensors = [torch.from_numpy(part) for part in parts]
    forth, back = histogram_of(*tensors), histogram_of(*reversed(tensors))
    peak = max(float(np.abs(part).max()) for part in parts)
    assert forth.limit == back.limit
    assert peak <= forth.limit
    assert forth.limit < 2 * peak or forth.limit == 2.0**-100


def test_growing_merges_bins_pairwise() -> None:
    torch.manual_seed(0)
    small, large = torch.rand(10_000) * 2 - 1, torch.tensor([100.0])
    grown, at_once = histogram_of(small, large), histogram_of(torch.cat([small, large]))
    assert grown.limit == at_once.limit == 128
    assert np.abs(grown.counts - at_once.counts).sum() <= 2  # an edge, as float32 rounds it
    assert grown.edges[0] == -128
    assert grown.edges[-1] == 128


def test_memory_is_constant() -> None:
    histogram = Histogram()
    for scale in range(100):
        histogram.update(torch.full((1000,), 1.3**scale))
        assert histogram.counts.shape == (BINS,)
    assert histogram.count == 100_000


def test_more_values_than_float32_can_count() -> None:
    """torch.histc stands still at 2^24; 2^24 + 2 of one value are the fewest that show it."""
    histogram = histogram_of(torch.zeros((1 << 24) + 2))
    assert histogram.counts.max() == (1 << 24) + 2


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_any_memory_layout(format: torch.memory_format) -> None:
    torch.manual_seed(0)
    dense = torch.randn(2, 3, 8, 9).contiguous(memory_format=format)
    expected = histogram_of(torch.tensor(dense.tolist()))
    for same in (dense, dense.permute(3, 0, 2, 1), dense.clone().requires_grad_()):
        assert (histogram_of(same).counts == expected.counts).all()
    strided = dense[:, :, ::2, 1:]
    assert histogram_of(strided).count == strided.numel()
    assert histogram_of(dense[:1, :1, :1, :1].expand(2, 3, 4, 5)).count == 120


def test_no_value_changes_nothing() -> None:
    histogram = histogram_of(torch.zeros(0, 3))
    assert histogram.count == 0
    assert (histogram.low, histogram.high) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ([1.0, math.nan], "1 NaN of 2 values"),
        ([math.nan, -math.inf, math.inf], "1 NaN and 2 infinite of 3 values"),
        ([-1e38, 3.0], "1 infinite of 2 values"),  # beyond 2^112: no INT8 scale follows
    ],
)
def test_unusable_values_are_counted_and_refused(bad: list[float], sentence: str) -> None:
    histogram = histogram_of(torch.ones(5))
    with pytest.raises(UnusableValues, match=f"^{re.escape(sentence)}$"):
        histogram.update(torch.tensor(bad))
    assert histogram.count == 5
    assert histogram.limit == 1


@given(st.lists(values, max_size=3), values)
@settings(max_examples=30)
def test_a_state_goes_on_where_it_was_left(parts: list[Array], more: Array) -> None:
    original = histogram_of(*map(torch.from_numpy, parts))
    copy = Histogram.from_state(*original.state())
    assert copy.state()[1].tolist() == original.state()[1].tolist()
    for histogram in (original, copy):
        histogram.update(torch.from_numpy(more))
    assert (copy.counts == original.counts).all()


def test_a_state_is_a_copy() -> None:
    histogram = histogram_of(torch.ones(3))
    counts, _ = histogram.state()
    copy = Histogram.from_state(*histogram.state())
    histogram.update(torch.ones(3))
    assert counts.sum() == copy.count == 3


def bad_states() -> list[tuple[Array, Array, str]]:
    counts, extent = histogram_of(torch.ones(3)).state()
    negative, huge = counts.copy(), counts.copy()
    negative[0], huge[0] = -1, 1 << 62
    return [
        (counts[1:], extent, rf"counts are int64 \[{BINS - 1}\], not int64 \[{BINS}\]"),
        (counts.astype(float), extent, "counts are float64"),
        (counts, extent[:2], r"extent is float64 \[2\], not float64 \[3\]"),
        (counts, extent.astype(np.float32), "extent is float32"),
        (negative, extent, r"counts lie outside \[0, "),
        (huge, extent, r"counts lie outside \[0, "),
        (counts, np.array([3.0, 1, 1]), "limit is 3, not a power of two"),
        (counts, np.array([math.nan, 1, 1]), "limit is nan, not a power of two"),
        (counts, np.array([2.0**113, 1, 1]), "not a power of two from"),
        (counts, np.array([1.0, 2, 3]), "3 values from 2 to 3 do not fit a limit of 1"),
        (counts, np.array([1.0, 1, -1]), "3 values from 1 to -1 do not fit"),
        (counts, np.array([1.0, math.nan, 1]), "3 values from nan to 1 do not fit"),
        (counts * 0, np.array([1.0, 0, 1]), "0 values from 0 to 1 do not fit"),
    ]


@pytest.mark.parametrize(("counts", "extent", "sentence"), bad_states())
def test_what_cannot_be_a_state(counts: Array, extent: Array, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Histogram.from_state(counts, extent)
