"""Signal over error: of what is equal, of what is known, of what is no number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.comparing.decibels import BEST_DB, added, decibels

SIGNAL = np.sin(np.arange(1000, dtype=np.float32)).reshape(10, 100)


@given(st.floats(-60, 60))
def test_an_error_of_known_power_has_its_decibels(db: float) -> None:
    error = np.cos(np.arange(1000)).reshape(10, 100)
    error *= math.sqrt(float((SIGNAL**2).sum() / (error**2).sum()) * 10 ** (-db / 10))
    assert decibels(SIGNAL.astype(np.float64), SIGNAL + error) == pytest.approx(db, abs=1e-3)


def test_what_is_equal_is_best() -> None:
    assert decibels(SIGNAL, SIGNAL.copy()) == BEST_DB
    assert decibels(np.zeros(3), np.zeros(3)) == BEST_DB
    assert decibels(np.array([True, False]), np.array([True, False])) == BEST_DB


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_worst(odd: float) -> None:
    other = SIGNAL.copy()
    other[3, 5] = odd
    assert decibels(SIGNAL, other) == -BEST_DB
    assert decibels(other, SIGNAL) == -BEST_DB


def test_anything_is_worst_where_there_should_be_nothing() -> None:
    assert decibels(np.zeros(4), np.full(4, 1e-6)) == -BEST_DB


def test_large_halves_do_not_overflow() -> None:
    large = np.full(1000, 60000, np.float16)
    assert decibels(large, large / np.float16(2)) == pytest.approx(6.02, abs=0.01)


def test_other_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"\[10\] is not compared with \[10, 1\]"):
        decibels(np.zeros((10, 1)), np.zeros(10))


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_errors_add_up(one: float, other: float) -> None:
    together = added([one, other])
    assert together <= min(one, other)
    assert added([one, one]) == pytest.approx(one - 10 * math.log10(2))
