"""The order of a grid: each position once, and neighbours that are known by then."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.coding.planes import digits_of, order_of, tokens_of


@given(st.integers(1, 9), st.integers(1, 9))
def test_every_position_is_coded_once_and_its_neighbours_before(height: int, width: int) -> None:
    order = order_of(height, width)
    assert sorted(order.positions.tolist()) == list(range(height * width))
    assert set(order.around.reshape(-1).tolist()) <= {*range(height * width + 1)}
    known = {height * width}  # what lies outside counts as nothing
    for phase, own in enumerate(order.parts):
        assert (order.phases[own] == phase).all()
        assert (order.grid[order.positions[own]] == phase).all()
        assert set(order.neighbours[:, own].reshape(-1).tolist()) <= known
        known |= set(order.positions[own].tolist())
    assert len(known) == height * width + 1


def test_neighbours_of_a_small_grid() -> None:
    """0 1 2
    3 4 5"""
    order = order_of(2, 3)
    assert order.positions.tolist() == [0, 2, 4, 1, 3, 5]
    assert order.neighbours.T.tolist() == [
        [6, 6, 6, 6],
        [6, 6, 6, 6],
        [0, 2, 0, 2],  # below is outside: mirrored
        [4, 4, 0, 2],
        [0, 0, 4, 4],
        [2, 2, 4, 4],
    ]
    assert order.around[:, 0].tolist() == [4, 3, 4, 1, 0, 1, 4, 3, 4]
    assert order_of(1, 3).neighbours.T.tolist()[2] == [3, 3, 0, 2]


@pytest.mark.parametrize("levels", [(8, 8, 8, 8, 8), (8, 5, 2, 3)])
def test_digits_are_tokens(levels: tuple[int, ...]) -> None:
    tokens = np.arange(0, np.prod(levels), 7, dtype=np.int32)
    digits = digits_of(tokens, levels)
    assert (digits.max(1) < levels).all() and (tokens_of(digits, levels) == tokens).all()
