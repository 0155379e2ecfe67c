"""A layer's tensor is the same in every form, whichever way it is brought there."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidtok_edge.runtime.comparing.layouts import from_home, moved
from vidtok_edge.runtime.manifest.graphs import FormName

FORMS = st.sampled_from(get_args(FormName))
SIZES = st.tuples(*[st.integers(1, 4)] * 5)
AXES = {"conv2d": (0, 1, 2, 3, 4), "conv3d": (0, 2, 1, 3, 4), "channels_last": (0, 1, 3, 4, 2)}


def numbered(sizes: tuple[int, ...]) -> NDArray[Any]:
    """[B, T, C, H, W], every value another."""
    return np.arange(np.prod(sizes)).reshape(sizes)


@given(FORMS, SIZES)
def test_from_home_is_the_inverse_of_a_form(form: FormName, sizes: tuple[int, ...]) -> None:
    whole = numbered(sizes)
    there = whole.transpose(AXES[form])
    assert np.array_equal(from_home(there, form, sizes[0]), whole)
    if form != "conv3d":  # time of all streams on the first axis
        joined = there.reshape(-1, *there.shape[2:])
        assert np.array_equal(from_home(joined, form, sizes[0]), whole)


@given(FORMS, FORMS, SIZES, st.booleans(), st.booleans())
def test_moved_is_what_the_other_form_has(
    form: FormName, to: FormName, sizes: tuple[int, ...], joined: bool, other_joined: bool
) -> None:
    whole = numbered(sizes)

    def laid_out(name: FormName, join: bool) -> NDArray[Any]:
        there = whole.transpose(AXES[name])
        return there.reshape(-1, *there.shape[2:]) if join and name != "conv3d" else there

    expected = laid_out(to, other_joined)
    got = moved(laid_out(form, joined), form=form, to=to, shape=expected.shape, streams=sizes[0])
    assert got is not None and np.array_equal(got, expected)


@pytest.mark.parametrize("shape", [(2, 3, 8, 4), (2, 3, 4, 9)])
def test_what_has_another_shape_does_not_correspond(shape: tuple[int, ...]) -> None:
    value = np.zeros((2, 3, 4, 8))
    assert moved(value, form="conv2d", to="conv2d", shape=shape, streams=1) is None
