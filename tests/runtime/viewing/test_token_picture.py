"""Pictures of latents: near values have near colours, whatever the levels."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.viewing.token_picture import latent_picture

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=6)


@given(LEVELS, st.data())
def test_one_level_more_in_one_dimension_changes_one_colour_a_little(
    levels: list[int], data: st.DataObject
) -> None:
    token = data.draw(st.integers(0, prod(levels) - 1))
    dimension = data.draw(st.integers(0, len(levels) - 1))
    step = prod(levels[:dimension])
    if token // step % levels[dimension] == levels[dimension] - 1:
        return
    pair = latent_picture(np.array([[token, token + step]], np.int32), levels).astype(int)
    change = np.abs(pair[0, 1] - pair[0, 0])
    sharing = len(levels[dimension % 3 :: 3])
    expected = 255 / (levels[dimension] - 1) / sharing
    assert abs(change[dimension % 3] - expected) <= 1
    assert change.sum() == change[dimension % 3]


@given(LEVELS)
def test_lowest_and_highest(levels: list[int]) -> None:
    picture = latent_picture(np.array([[0, prod(levels) - 1]], np.int32), levels)
    assert picture.shape == (1, 2, 3) and picture.dtype == np.uint8
    used = min(3, len(levels))
    assert (picture[0, 0, :used] == 0).all() and (picture[0, 1, :used] == 255).all()


def test_kl() -> None:
    mean = np.zeros((4, 2, 2), np.float32)
    mean[0], mean[1, 0, 0] = 3, -99
    picture = latent_picture(mean, ())
    assert picture[0, 0].tolist() == [255, 0, 128] and picture[1, 1].tolist() == [255, 128, 128]
