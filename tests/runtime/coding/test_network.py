"""Networks of whole numbers: float32 gives what whole numbers give, whatever comes in."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from vidtok_edge.runtime.coding import network
from vidtok_edge.runtime.coding.inputs import INPUTS, LARGEST, History, Inputs
from vidtok_edge.runtime.coding.network import (
    MOST,
    SHIFTS,
    Network,
    _powers,
    bounds_of,
    network_at,
)
from vidtok_edge.runtime.coding.planes import order_of

ALL = list(product((False, True), range(3)))


def in_whole_numbers(one: Network, x: NDArray[np.int64]) -> NDArray[np.int64]:
    for number, ((weights, biases), shift) in enumerate(zip(one.layers, SHIFTS, strict=True)):
        whole = [
            (real.astype(np.float64) * 2**shift).astype(np.int64) for real in (weights, biases)
        ]
        x = (whole[0] @ x + whole[1]) >> shift
        if number < 2:
            x = x.clip(0, MOST)
    return x


@pytest.mark.parametrize(("later", "phase"), ALL)
@pytest.mark.parametrize("count", [1, 64, 200])
def test_outputs_are_those_of_whole_numbers(later: bool, phase: int, count: int) -> None:
    rng = np.random.default_rng(count)
    one = network_at(later, phase)
    x = rng.integers(-LARGEST, LARGEST + 1, (len(INPUTS), 3, count))
    x[:, 0] = np.where(x[:, 0] < 0, -LARGEST, LARGEST)
    found = one.outputs(x.astype(np.int8))
    assert found.shape == (8, 3, count)
    for plane in range(3):
        assert (found[:, plane] == in_whole_numbers(one, x[:, plane])).all()


def test_where_float32_is_not_exact_float64_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network._is_exact(np.matmul)
    assert not network._is_exact(lambda a, b: (a.astype(np.float16) @ b).astype(np.float32))
    x = np.random.default_rng(0).integers(-LARGEST, LARGEST + 1, (len(INPUTS), 200))
    usual = network_at(True, 2).outputs(x.astype(np.int8))
    monkeypatch.setattr(network, "_is_exact", lambda multiply: False)
    slow = network._networks.__wrapped__()[5]
    assert slow.layers[0][0].dtype == np.float64
    assert (slow.outputs(x.astype(np.int8)) == usual).all()


def test_sums_that_float32_does_not_hold_are_refused() -> None:
    layers = network_at(True, 0).layers
    (weights, biases), *rest = layers
    with pytest.raises(AssertionError, match="not exact"):
        Network(((weights * 100, biases), *rest))


def in_python(outputs: NDArray[np.int32]) -> list[int]:
    largest, levels = int(outputs.max()), len(outputs)
    likely = [int(_powers()[min(largest - int(one), 1023)]) for one in outputs]
    total = sum(likely)
    return [sum(likely[:d]) * ((1 << 14) - levels) // total + d for d in range(levels + 1)]


@pytest.mark.parametrize("levels", [2, 5, 8])
def test_every_digit_has_a_share(levels: int) -> None:
    outputs = np.random.default_rng(levels).integers(-30_000, 30_000, (8, 500)).astype(np.int32)
    bounds = bounds_of(outputs, levels)
    assert bounds.shape == (levels + 1, 500) and np.diff(bounds, axis=0).min() >= 1
    assert (bounds[0] == 0).all() and (bounds[-1] == 1 << 14).all()
    first = (8 - levels) // 2
    for column in range(0, 500, 7):
        assert bounds[:, column].tolist() == in_python(outputs[first : first + levels, column])
    best = outputs[first : first + levels].argmax(0)
    assert (
        np.diff(bounds, axis=0).max(0) <= np.diff(bounds, axis=0)[best, np.arange(500)] + 1
    ).all()


@pytest.mark.parametrize("planes", [1, 5, 8])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (7, 6)])
def test_inputs_are_the_same_phase_by_phase(planes: int, shape: tuple[int, int]) -> None:
    """Which is how they come to be where a latent is decoded: with what is known by then alone."""
    rng = np.random.default_rng(planes)
    count = shape[0] * shape[1]
    past = History(planes, count)
    order, every = order_of(*shape), slice(0, count)
    for number in range(5):
        values = np.zeros((planes, count + 1), np.int16)
        values[:, :-1] = 2 * rng.integers(0, 8, (planes, count)) - 7
        if number % 2:
            values = np.where(rng.random(count + 1) < 0.5, values, past.before)
        together = Inputs(order, values, past)
        together.add_phases(every)
        for plane in range(planes):
            together.add_plane(plane, every)
        assert together.values.min() >= -LARGEST
        known = np.zeros_like(values)
        one_by_one = Inputs(order, known, past)
        for own in order.parts:
            one_by_one.add_phases(own)
            for plane in range(planes):
                found = one_by_one.add_plane(plane, own)
                assert (found == together.values[:, plane, own]).all()
                known[plane, order.positions[own]] = values[plane, order.positions[own]]
        past.add(values)
