"""Ranges from histograms: what each method promises, on values whose quantisation is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtok_edge.calib.histogram import Histogram
from vidtok_edge.calib.methods import METHODS, Method, Range, range_of
from vidtok_edge.errors import UsageError

both_kinds = pytest.mark.parametrize("symmetric", [False, True])
SPREADS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "normal": lambda g: g,
    "shifted": lambda g: g + 2,
    "silu": lambda g: torch.nn.functional.silu(2 * g),
    "relu": lambda g: g.relu(),
    "negative": lambda g: -g.abs() - 0.5,
    "heavy": lambda g: g**3,
    "few levels": lambda g: g.round(),
}


def sample(spread: str, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return SPREADS[spread](torch.randn(20_000, generator=generator)) * scale


def histogram_of(values: torch.Tensor) -> Histogram:
    histogram = Histogram()
    histogram.update(values)
    return histogram


def squared_error(values: torch.Tensor, span: Range, symmetric: bool) -> float:
    """The mean squared difference between values and their INT8 numbers."""
    x = values.double()
    if symmetric:
        step = span.high / 127
        back = (x / step).round().clamp(-127, 127) * step
    else:
        step = (span.high - span.low) / 255
        zero = round(-span.low / step)
        back = ((x / step).round() + zero).clamp(0, 255).sub(zero) * step
    return float((back - x).square().mean())


samples = st.builds(
    sample,
    st.sampled_from(sorted(SPREADS)),
    st.integers(0, 1000),
    st.floats(-30, 30).map(lambda e: 10.0**e),
)
some = settings(max_examples=30)


@given(samples, st.sampled_from(METHODS), st.booleans())
@some
def test_ranges_lie_between_zero_and_the_extremes(
    values: torch.Tensor, method: Method, symmetric: bool
) -> None:
    histogram = histogram_of(values)
    whole = range_of(histogram, "minmax", symmetric=symmetric)
    span = range_of(histogram, method, symmetric=symmetric)
    assert whole.low <= float(values.min())
    assert float(values.max()) <= whole.high
    assert whole.low <= span.low <= 0 <= span.high <= whole.high
    assert span.high > span.low
    assert not symmetric or span.symmetric


def test_minmax_is_exact() -> None:
    values = torch.tensor([-0.3, 0.1, 1.7])
    histogram = histogram_of(values)
    low, high = float(values[0]), float(values[2])
    assert range_of(histogram, "minmax", symmetric=False) == Range(low, high)
    assert range_of(histogram, "minmax", symmetric=True) == Range(-high, high)


@given(samples, st.booleans())
@some
def test_mse_is_no_worse_than_minmax(values: torch.Tensor, symmetric: bool) -> None:
    histogram = histogram_of(values)
    whole = range_of(histogram, "minmax", symmetric=symmetric)
    best = range_of(histogram, "mse", symmetric=symmetric)
    # Inside a bin the method does not see where values lie: an error up to a bin's width each.
    binning = histogram.bin_width**2
    expected = squared_error(values, whole, symmetric)
    assert squared_error(values, best, symmetric) <= 1.02 * expected + binning


@both_kinds
@pytest.mark.parametrize("spread", ["normal", "silu", "heavy", "shifted"])
def test_mse_is_near_the_best_of_all_clippings(spread: str, symmetric: bool) -> None:
    values = sample(spread, seed=1)
    histogram = histogram_of(values)
    whole = range_of(histogram, "minmax", symmetric=symmetric)
    ratios = np.linspace(0.2, 1, 17 if not symmetric else 65)
    tried = [
        Range(whole.low * (high if symmetric else low), whole.high * high)
        for high in ratios
        for low in (ratios if not symmetric else ratios[:1])
    ]
    least = min(squared_error(values, span, symmetric) for span in tried)
    found = squared_error(values, range_of(histogram, "mse", symmetric=symmetric), symmetric)
    assert found <= 1.03 * least


@both_kinds
def test_a_single_outlier_is_clipped_by_all_but_minmax(symmetric: bool) -> None:
    torch.manual_seed(0)
    values = torch.cat([torch.randn(1_000_000), torch.tensor([60.0])])
    histogram = histogram_of(values)
    high = {method: range_of(histogram, method, symmetric=symmetric).high for method in METHODS}
    assert high["minmax"] == 60
    assert 3.5 < high["percentile"] < 4.5
    assert 3.5 < high["entropy"] < 8
    assert high["mse"] < 45  # of one value among a million the square still weighs 0.0036


@both_kinds
def test_entropy_keeps_a_normal_distribution_whole(symmetric: bool) -> None:
    values = sample("normal", seed=0)
    span = range_of(histogram_of(values), "entropy", symmetric=symmetric)
    assert span.high > 3


@pytest.mark.parametrize("spread", ["relu", "normal"])
@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_a_peak_of_zeros_costs_nothing(spread: str, method: Method) -> None:
    """Padding is exact in INT8: the other values decide."""
    values = sample(spread, seed=0)
    with_zeros = torch.cat([values, torch.zeros(1_000_000)])
    for symmetric in (False, True):
        span = range_of(histogram_of(with_zeros), method, symmetric=symmetric)
        alone = range_of(histogram_of(values), method, symmetric=symmetric)
        assert span.high > 0.8 * alone.high


@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.99])
def test_percentile_cuts_that_share(percentile: float) -> None:
    values = sample("normal", seed=3)
    histogram = histogram_of(values)
    for symmetric in (False, True):
        span = range_of(histogram, "percentile", symmetric=symmetric, percentile=percentile)
        inside = ((values >= span.low) & (values <= span.high)).double().mean()
        assert float(inside) == pytest.approx(percentile / 100, abs=3e-4)


@both_kinds
def test_the_hundredth_percentile_is_minmax(symmetric: bool) -> None:
    histogram = histogram_of(sample("silu", seed=0))
    assert range_of(histogram, "percentile", symmetric=symmetric, percentile=100) == range_of(
        histogram, "minmax", symmetric=symmetric
    )


@given(
    st.sampled_from(sorted(SPREADS)), st.integers(-20, 20), st.sampled_from(METHODS), st.booleans()
)
@some
def test_scaling_by_a_power_of_two_is_exact(
    spread: str, exponent: int, method: Method, symmetric: bool
) -> None:
    """The support scales along, so the bins hold the same values."""
    base = range_of(histogram_of(sample(spread, 5)), method, symmetric=symmetric)
    scaled = range_of(histogram_of(sample(spread, 5, 2.0**exponent)), method, symmetric=symmetric)
    for one, other in ((base.low, scaled.low), (base.high, scaled.high)):
        assert other == pytest.approx(one * 2.0**exponent, rel=1e-9)


@given(
    st.sampled_from(["normal", "silu", "shifted"]),
    st.floats(0.01, 100),
    st.sampled_from(["minmax", "percentile", "mse"]),
    st.booleans(),
)
@some
def test_scaling_scales_the_range(
    spread: str, factor: float, method: Method, symmetric: bool
) -> None:
    values = sample(spread, 7)
    one, other = histogram_of(values), histogram_of(values * factor)
    base = range_of(one, method, symmetric=symmetric)
    scaled = range_of(other, method, symmetric=symmetric)
    if method == "mse":  # a flat minimum: its place is uncertain, its depth is not
        found = squared_error(values * factor, scaled, symmetric) / factor**2
        assert found == pytest.approx(squared_error(values, base, symmetric), rel=0.05)
        return
    width = max(one.bin_width * factor, other.bin_width)
    assert scaled.low == pytest.approx(base.low * factor, abs=2 * width)
    assert scaled.high == pytest.approx(base.high * factor, abs=2 * width)


@both_kinds
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1e-35])
def test_zeros_have_a_range(value: float, method: Method, symmetric: bool) -> None:
    histogram = histogram_of(torch.full((100,), value))
    assert range_of(histogram, method, symmetric=symmetric) == Range(-1, 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.7, -0.7, 1.0, -3e-20])
def test_a_constant_has_a_range_from_zero_to_it(value: float, method: Method) -> None:
    histogram = histogram_of(torch.full((100,), value))
    exact = float(np.float32(value))
    span = range_of(histogram, method, symmetric=False)
    bound = span.high if value > 0 else span.low
    assert (span.high, span.low)[value > 0] == 0
    assert bound == pytest.approx(exact, rel=0.05)
    symmetric = range_of(histogram, method, symmetric=True)
    assert symmetric.high == pytest.approx(abs(exact), rel=0.05)


@both_kinds
def test_a_percentile_does_not_cut_everything_but_zeros(symmetric: bool) -> None:
    values = torch.cat([torch.zeros(1_000_000), torch.tensor([-2.0, 3.0])])
    span = range_of(histogram_of(values), "percentile", symmetric=symmetric)
    assert span == (Range(-3, 3) if symmetric else Range(-2, 3))


@pytest.mark.parametrize(
    ("method", "percentile", "sentence"),
    [
        ("max", 99.99, "method is 'max'; allowed: minmax, percentile, entropy, mse"),
        ("percentile", 0.9999, "percentile is 0.9999; allowed: above 50, at most 100"),
        ("percentile", 100.1, "percentile is 100.1; allowed"),
        ("percentile", math.nan, "percentile is nan; allowed"),
    ],
)
def test_what_is_no_method(method: Any, percentile: float, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        range_of(histogram_of(torch.ones(1)), method, symmetric=True, percentile=percentile)


def test_no_value_has_no_range() -> None:
    with pytest.raises(ValueError, match="the histogram has seen no value"):
        range_of(Histogram(), "minmax", symmetric=True)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.1, 1), (-1, -0.1), (0, 0), (1, -1), (-1, math.inf), (-math.inf, 1), (math.nan, 1)],
)
def test_what_is_no_range(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=r"a range from .*; allowed: "):
        Range(low, high)


def test_a_range_is_printed_short() -> None:
    assert str(Range(-0.278464, 12)) == "[-0.278464, 12]"


@pytest.mark.parametrize("method", METHODS)
def test_no_range_begins_at_minus_zero(method: Method) -> None:
    values = torch.cat([sample("relu", seed=0), torch.tensor([-0.0])])
    assert str(range_of(histogram_of(values), method, symmetric=False)).startswith("[0, ")
