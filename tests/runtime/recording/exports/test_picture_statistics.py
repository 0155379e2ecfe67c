"""Statistics of pictures are those that NumPy gives of all their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from vidtok_edge.runtime.recording.exports.picture_statistics import PictureStatistics


@pytest.mark.parametrize(
    ("size", "step"), [((16, 24), 1), ((299, 8), 1), ((300, 200), 2), ((200, 480), 3)]
)
def test_they_are_exact(size: tuple[int, int], step: int) -> None:
    rng = np.random.default_rng(3)
    pictures = rng.integers(5, 240, (4, *size, 3), np.uint8)
    pictures[..., 1] //= 2
    found = PictureStatistics()
    for picture in pictures:
        found.add(picture)
    facts = found.facts()
    pixels = pictures[:, ::step, ::step].reshape(-1, 3) / 255
    expected = {
        "min": pixels.min(axis=0),
        "max": pixels.max(axis=0),
        "mean": pixels.mean(axis=0),
        "std": pixels.std(axis=0),
        **{
            f"q{q:02}": np.quantile(pixels, q / 100, axis=0, method="inverted_cdf")
            for q in (1, 10, 50, 90, 99)
        },
    }
    assert set(facts) == {*expected, "count"} and facts["count"].tolist() == [4]
    for name, value in expected.items():
        assert facts[name].shape == (3, 1, 1), "as LeRobot wants those of images"
        np.testing.assert_allclose(facts[name][:, 0, 0], value, rtol=1e-9, err_msg=name)
