"""Each window once in an epoch, whoever reads; the same order everywhere; going on exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")  # of the package that it lies in

from vidtok_edge.datasets.schedule import Schedule
from vidtok_edge.errors import UsageError


def schedule(windows: int, **given: int) -> Schedule:
    own = {"shuffle": True, "seed": 0, "batch": 1, "even": False, "rank": 0, "world_size": 1}
    return Schedule(windows=windows, **{**own, **given})  # type: ignore[arg-type]


def taken(
    windows: int, batch: int, ranks: int, done: int = 0, *, items: int | None = None, **own: int
) -> list[list[list[int]]]:
    """Of each rank its items, or the first few, behind the first `done` windows."""
    found = []
    for rank in range(ranks):
        one = schedule(windows, batch=batch, rank=rank, world_size=ranks, **own)
        order, count = one.order(3), one.items(done)
        numbers = range(count if items is None else min(items, count))
        found.append([one.item(order, done, number).tolist() for number in numbers])
    return found


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 5), st.integers(0, 1 << 62))
def test_each_window_is_in_one_item_of_one_rank(
    windows: int, batch: int, ranks: int, seed: int
) -> None:
    found = taken(windows, batch, ranks, seed=seed)
    every = [window for rank in found for item in rank for window in item]
    assert sorted(every) == list(range(windows))
    counts = [len(rank) for rank in found]
    assert max(counts) - min(counts) <= 1
    assert all(item for rank in found for item in rank)


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 5))
def test_even_ranks_have_as_many_whole_items(windows: int, batch: int, ranks: int) -> None:
    found = taken(windows, batch, ranks, even=True)
    assert {len(rank) for rank in found} == {windows // (batch * ranks)}
    assert all(len(item) == batch for rank in found for item in rank)
    every = [window for rank in found for item in rank for window in item]
    assert len({*every}) == len(every) > windows - batch * ranks


@given(
    st.integers(1, 200),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(0, 20),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_what_was_not_taken_is_left_for_other_ranks_and_batches(
    windows: int, batch: int, ranks: int, items: int, then_batch: int, then_ranks: int
) -> None:
    before = taken(windows, batch, ranks, items=items)
    done = schedule(windows, batch=batch, world_size=ranks).done(0, items)
    after = taken(windows, then_batch, then_ranks, done)
    every = [window for rank in before + after for item in rank for window in item]
    assert sorted(every) == list(range(windows))


def test_the_order_follows_from_seed_and_epoch() -> None:
    """With any NumPy, on any machine: these are what splitmix64 says."""
    one = schedule(10, seed=1)
    assert one.order(0).tolist() == ORDER
    orders = [one.order(0), one.order(1), schedule(10, seed=2).order(0)]
    assert len({tuple(order) for order in orders}) == 3
    assert schedule(4, shuffle=False).order(7).tolist() == [0, 1, 2, 3]


ORDER = [8, 1, 6, 9, 0, 2, 7, 5, 3, 4]


def test_an_order_is_no_pattern() -> None:
    """Of many windows, neighbours lie as far from one another as in a permutation by chance."""
    order = schedule(10_000).order(0)
    far = np.abs(np.diff(order)).mean()
    assert far == pytest.approx(10_000 / 3, rel=0.03)
    assert abs(np.corrcoef(np.arange(10_000), order)[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"batch": 0}, "batch size is 0"),
        ({"world_size": 0}, "world size is 0"),
        ({"rank": 2, "world_size": 2}, "rank is 2; allowed: 0 to 1"),
    ],
)
def test_values_that_mean_nothing(own: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        schedule(3, **own)
