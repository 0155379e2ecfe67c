"""The order of a grid: each position once, and neighbours that are known by then."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.coding.planes import digits_of, order_of, tokens_of


@given(st.integers(1, 9), st.integers(1, 9))
def test_every_position_is_coded_once_and_its_neighbours_before(height: int, width: int) -> None:
    whole, alone = order_of(height, width)
    assert sorted(whole.positions.tolist()) == list(range(height * width))
    known = {height * width}  # what lies outside counts as nothing
    for phase, order in enumerate(alone):
        assert order.positions.tolist() == whole.positions[whole.of_phase(phase)].tolist()
        assert set(order.neighbours.reshape(-1).tolist()) <= known
        assert set(order.around.reshape(-1).tolist()) <= {height * width, *whole.positions.tolist()}
        known |= set(order.positions.tolist())


def test_neighbours_of_a_small_grid() -> None:
    """0 1 2
    3 4 5"""
    order = order_of(2, 3)[0]
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
    assert order_of(1, 3)[0].neighbours.T.tolist()[2] == [6 // 2, 3, 0, 2]


@pytest.mark.parametrize("levels", [(8, 8, 8, 8, 8), (8, 5, 2, 3)])
def test_digits_are_tokens(levels: tuple[int, ...]) -> None:
    tokens = np.arange(0, np.prod(levels), 7, dtype=np.int32)
    digits = digits_of(tokens, levels)
    assert (digits.max(1) < levels).all() and (tokens_of(digits, levels) == tokens).all()
