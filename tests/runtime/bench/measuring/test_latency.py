"""Percentiles, misses and jitter, against what they say they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidtok_edge.runtime.bench.latency import Latency
from vidtok_edge.runtime.bench.measuring.latency import (
    PERCENTILES,
    curve_of,
    histogram_of,
    latency_of,
    longest_run,
    percentile_ms,
    samples_needed,
)

MS = 1_000_000


def latency(values: list[float], deadline_ms: float = 100.0) -> Latency:
    return latency_of([[round(v * MS) for v in values]], deadline_ms)


def test_nearest_rank_of_known_samples() -> None:
    found = latency([float(v) for v in range(1, 3001)])
    assert (found.n, found.p50_ms, found.p90_ms, found.p95_ms) == (3000, 1500, 2700, 2850)
    assert (found.p99_ms, found.p99_9_ms, found.min_ms, found.max_ms) == (2970, 2997, 1, 3000)
    assert found.mean_ms == pytest.approx(1500.5)


@pytest.mark.parametrize("percentile", PERCENTILES)
def test_a_percentile_needs_enough_samples(percentile: float) -> None:
    """95 % sure that the largest sample lies above it: so says the binomial law."""
    needed = samples_needed(percentile)
    share = percentile / 100
    assert share**needed <= 0.05 < share ** (needed - 1)
    values = np.arange(needed, dtype=np.int64)
    assert percentile_ms(values, percentile) is not None
    assert percentile_ms(values[1:], percentile) is None


def test_a_hundred_samples_know_nothing_of_p99_9() -> None:
    found = latency([1.0] * 100)
    assert found.p95_ms == 1.0 and found.p99_ms is None and found.p99_9_ms is None
    assert found.max_ms == 1.0


@given(st.lists(st.integers(0, 10**12), min_size=5, max_size=400))
def test_percentiles_are_values_that_occurred_and_bound_their_share(values: list[int]) -> None:
    found = latency_of([values], 1.0)
    for percentile, value in zip(PERCENTILES, list(found.percentiles().values())[:-1], strict=True):
        if value is not None:
            assert value in [v / 1e6 for v in values]
            assert sum(v / 1e6 <= value for v in values) >= percentile / 100 * len(values) - 1e-6
            assert sum(v / 1e6 < value for v in values) < percentile / 100 * len(values)


@given(st.lists(st.booleans(), max_size=60))
def test_longest_run(missed: list[bool]) -> None:
    runs = "".join("x" if m else " " for m in missed).split()
    assert longest_run(np.array(missed, bool)) == max(map(len, runs), default=0)


def test_misses_and_their_longest_run_stay_within_a_stream() -> None:
    streams = [[50 * MS, 101 * MS, 102 * MS], [150 * MS, 100 * MS]]
    found = latency_of(streams, 100.0)
    assert (found.misses, found.longest_run) == (3, 2), "100 is in time; streams do not join"


def test_jitter_is_between_neighbours_of_one_stream() -> None:
    found = latency_of([[10 * MS, 14 * MS, 12 * MS], [900 * MS, 906 * MS]], 1000.0)
    assert found.jitter_ms == pytest.approx((4 + 2 + 6) / 3)


def test_nothing_measured_is_nothing_known() -> None:
    found = latency_of([[]], 5.0)
    assert (found.n, found.p50_ms, found.max_ms, found.jitter_ms, found.misses) == (
        0,
        None,
        None,
        None,
        0,
    )


def test_a_curve_ends_where_the_percentiles_do() -> None:
    """Of 24 latents the table shows no p90: neither may the curve."""
    curve = curve_of(np.arange(24, dtype=np.int64) * MS)
    assert curve is not None and len(curve.latency_ms) == 21, "the slowest three are not on it"
    assert curve.shares[12] == 0.5 and curve.latency_ms[12] == 12.0
    assert 0.5 < curve.told < 0.9
    assert curve_of(np.arange(4, dtype=np.int64)) is None


@given(st.lists(st.lists(st.integers(0, 10**11), max_size=50), min_size=1, max_size=3))
@example([[0, 0, 1]])  # logarithmic, and all below the least edge
def test_a_histogram_counts_every_latent_of_each_candidate(slots: list[list[int]]) -> None:
    candidates = [np.sort(np.array(values, np.int64)) for values in slots]
    found = histogram_of(candidates)
    if found is None:
        assert all(len(values) < 2 for values in slots)
        return
    for values, shares in zip(slots, found.shares, strict=True):
        assert sum(shares) == pytest.approx(1 if len(values) > 1 else 0)
    assert len(found.edges_ms) == 61


@pytest.mark.parametrize("slowest, logarithmic", [(15.0, False), (2000.0, True)])
def test_one_slow_latent_does_not_press_the_others_flat(slowest: float, logarithmic: bool) -> None:
    values = np.array([10 * MS] * 99 + [round(slowest * MS)], np.int64)
    found = histogram_of([values])
    assert found is not None and found.logarithmic == logarithmic
