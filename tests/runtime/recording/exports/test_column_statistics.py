"""Statistics of columns: those of all rows, however they came."""

from __future__ import annotations

import numpy as np
import pytest

from vidtok_edge.runtime.recording.exports.column_statistics import (
    ColumnStatistics,
    merged_facts,
)


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


def facts_of(rows: np.ndarray) -> dict[str, np.ndarray]:
    column = ColumnStatistics()
    column.add(rows)
    return column.facts()


def test_parts_are_merged_as_lerobot_merges_datasets() -> None:
    rng = np.random.default_rng(0)
    parts = rng.normal(3, 2, (40, 2)), rng.normal(-1, 5, (10, 2))
    merged = merged_facts(*(facts_of(part) for part in parts))
    every = np.concatenate(parts)
    np.testing.assert_allclose(merged["mean"], every.mean(axis=0))
    np.testing.assert_allclose(merged["std"], every.std(axis=0))
    np.testing.assert_array_equal(merged["min"], every.min(axis=0))
    np.testing.assert_array_equal(merged["max"], every.max(axis=0))
    assert merged["count"].tolist() == [50]
    medians = [np.median(part, axis=0) for part in parts]
    np.testing.assert_allclose(merged["q50"], (40 * medians[0] + 10 * medians[1]) / 50)


def test_a_part_without_rows_says_nothing() -> None:
    some = facts_of(np.arange(6.0).reshape(3, 2))
    none = facts_of(np.zeros((0, 2)))
    for merged in (merged_facts(some, none), merged_facts(none, some)):
        assert {name: value.tolist() for name, value in merged.items()} == {
            name: value.tolist() for name, value in some.items()
        }
    assert merged_facts(none, none)["count"].tolist() == [0]
