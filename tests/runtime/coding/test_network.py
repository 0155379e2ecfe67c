"""Networks of whole numbers: float32 gives what whole numbers give, whatever comes in."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.inputs import INPUTS, LARGEST, History, Inputs
from vidtok_edge.runtime.coding.network import (
    MOST,
    SHIFTS,
    Network,
    bounds_of,
    frequencies,
    network_at,
)
from vidtok_edge.runtime.coding.planes import order_of

ALL = list(product((False, True), range(3)))


def in_whole_numbers(network: Network, x: NDArray[np.int64]) -> NDArray[np.int64]:
    for number, ((weights, biases), shift) in enumerate(zip(network.layers, SHIFTS, strict=True)):
        whole = [(one.astype(np.float64) * 2**shift).astype(np.int64) for one in (weights, biases)]
        x = (whole[0] @ x + whole[1]) >> shift
        if number < 2:
            x = x.clip(0, MOST)
    return x


@pytest.mark.parametrize(("later", "phase"), ALL)
@pytest.mark.parametrize("count", [1, 64, 200])
def test_outputs_are_those_of_whole_numbers(later: bool, phase: int, count: int) -> None:
    rng = np.random.default_rng(count)
    network = network_at(later, phase)
    x = rng.integers(-LARGEST, LARGEST + 1, (len(INPUTS), 3, count))
    x[:, 0] = np.where(x[:, 0] < 0, -LARGEST, LARGEST)
    found = network.outputs(x.astype(np.float32))
    assert found.shape == (8, 3, count)
    for plane in range(3):
        assert (found[:, plane] == in_whole_numbers(network, x[:, plane])).all()


def test_sums_that_float32_does_not_hold_are_refused() -> None:
    layers = network_at(True, 0).layers
    (weights, biases), *rest = layers
    with pytest.raises(AssertionError, match="not exact"):
        Network(((weights * 100, biases), *rest))


@pytest.mark.parametrize("levels", [2, 5, 8])
def test_frequencies_add_up(levels: int) -> None:
    outputs = np.random.default_rng(levels).integers(-30_000, 30_000, (8, 500)).astype(np.int32)
    freqs = frequencies(outputs, levels)
    assert freqs.shape == (levels, 500) and freqs.min() >= 1
    assert (freqs.sum(0) == 1 << 14).all() and (bounds_of(freqs)[-1] == 1 << 14).all()


@pytest.mark.parametrize("planes", [1, 5, 8])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (7, 6)])
def test_inputs_are_small_and_the_same_phase_by_phase(planes: int, shape: tuple[int, int]) -> None:
    """Which is how they come to be where a latent is decoded: with what is known by then alone."""
    rng = np.random.default_rng(planes)
    count = shape[0] * shape[1]
    past = History(planes, count)
    whole, alone = order_of(*shape)
    for number in range(5):
        values = np.zeros((planes, count + 1), np.int16)
        values[:, :-1] = 2 * rng.integers(0, 8, (planes, count)) - 7
        if number % 2:
            values = np.where(rng.random(count + 1) < 0.5, values, past.before)
        together = Inputs(whole, values, past)
        for plane in range(planes):
            together.add_plane(plane)
        assert np.abs(together.values).max() <= LARGEST
        known = np.zeros_like(values)
        for phase, order in enumerate(alone):
            inputs = Inputs(order, known, past)
            for plane in range(planes):
                found = inputs.add_plane(plane)
                assert (found == together.values[:, plane, whole.of_phase(phase)]).all()
                known[plane, order.positions] = values[plane, order.positions]
        past.add(values)
