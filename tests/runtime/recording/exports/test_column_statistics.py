"""Statistics of columns: those of all rows, however they came."""

from __future__ import annotations

import numpy as np
import pytest

from vidtok_edge.runtime.recording.exports.column_statistics import ColumnStatistics


@pytest.mark.parametrize("count", [1, 2, 1000, 10_000])
@pytest.mark.parametrize("batch", [1, 7, 512])
def test_batches_give_the_statistics_of_all_rows(count: int, batch: int) -> None:
    rows = np.random.default_rng(0).integers(0, 1 << 15, (count, 3)).astype(np.uint16)
    column = ColumnStatistics()
    for first in range(0, count, batch):
        column.add(rows[first : first + batch])
    facts = column.facts()
    np.testing.assert_array_equal(facts["min"], rows.min(axis=0))
    np.testing.assert_array_equal(facts["max"], rows.max(axis=0))
    np.testing.assert_allclose(facts["mean"], rows.mean(axis=0))
    np.testing.assert_allclose(facts["std"], rows.std(axis=0), atol=1e-9)
    assert facts["count"].tolist() == [count]
    # Of many rows, those of evenly spaced ones, the same however the rows came.
    kept = rows[:: 1 if count <= 1024 else 16]
    for name, q in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        np.testing.assert_allclose(facts[name], np.quantile(kept, q, axis=0))


def test_a_column_of_one_value_whose_numbers_are_large() -> None:
    times = 10**18 + np.arange(100) * 10**9
    column = ColumnStatistics()
    for batch in np.split(times, 10):
        column.add(batch)
    facts = column.facts()
    assert facts["min"].shape == (1,) and facts["min"][0] == 10**18
    np.testing.assert_allclose(facts["std"], [times.std()], rtol=1e-6)
