"""The histogram against sorted samples."""

from __future__ import annotations

import numpy as np
import pytest

from vidtok_edge.runtime.session.latency import LatencyHistogram


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 1.0])
def test_quantiles_are_right_to_two_percent(share: float) -> None:
    samples = np.random.default_rng(0).lognormal(17, 1, 5000).astype(int)
    histogram = LatencyHistogram()
    for sample in samples:
        histogram.add(int(sample))
    exact = int(np.quantile(samples, share, method="inverted_cdf"))
    assert (
        exact <= histogram.quantile_ns(share) + 1 and histogram.quantile_ns(share) <= exact * 1.02
    )
    assert histogram.max_ns == samples.max() and histogram.count == 5000


def test_the_ends() -> None:
    histogram = LatencyHistogram()
    assert histogram.quantile_ns(0.5) == 0
    histogram.add(-5)
    assert histogram.quantile_ns(0.5) == 0
    histogram.add(10**15)
    assert histogram.max_ns == 10**15 and histogram.quantile_ns(1.0) > 3600e9
