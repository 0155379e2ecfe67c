"""How likely each digit is: what a network of whole numbers makes of its inputs.

There are six networks, for the first latent of a run and for later ones in each of three phases. A
network has two layers whose outputs lie between 0 and 255, and a last one whose outputs are
logarithms of likelihoods, in 64ths of a bit. Every sum is a whole number below 2^24, so that
float32 holds it exactly, in whatever order it is added: every machine gets the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.inputs import INPUTS, LARGEST
from vidtok_edge.runtime.coding.planes import DIGITS, PHASES
from vidtok_edge.runtime.coding.rans import BITS

__all__ = [
    "MOST",
    "SHA256",
    "SHIFTS",
    "SIZES",
    "UNIT",
    "Network",
    "bounds_of",
    "network_at",
    "networks_from_bytes",
]

SIZES = (len(INPUTS), 48, 32, DIGITS)
"""Inputs, outputs of each layer."""
SHIFTS = (7, 8, 10)
"""Bits by which the sums of each layer are shifted down."""
MOST = 255
"""An output of the first two layers at most."""
UNIT = 64
"""Outputs of the last layer that are one bit."""
_FILE = Path(__file__).with_name("networks.v1.bin")
SHA256 = "e1e6a05c7340ab8fc3caf19b3e145029a4f08ba25b2c1f323db5afec68415b16"
"""Of that file, which is a part of version 1 of the code."""
_MOST_INTO = (LARGEST, MOST, MOST)
_FAR = 16 * UNIT - 1  # sixteen bits less likely, and beyond
_EXACT = 1 << 24  # float32 has every whole number up to it
_BLOCK = 64
"""Digits that are multiplied at once: so few that no BLAS wakes its threads for them."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Of each layer weights [outputs, inputs] and biases [outputs, 1], shifted down: as
    powers of two divide exactly, so do the sums."""

    layers: tuple[tuple[Floats, Floats], ...]

    def __post_init__(self) -> None:
        for (weights, biases), shift, most in zip(self.layers, SHIFTS, _MOST_INTO, strict=True):
            sums = np.abs(weights).astype(np.float64).sum(1) * most + np.abs(biases[:, 0])
            largest = sums.max() * 2**shift
            assert largest < _EXACT, f"sums of {largest:.0f} are not exact"

    def outputs(self, inputs: NDArray[np.int8]) -> NDArray[np.int32]:
        """Logarithms of likelihoods in 64ths of a bit, int32 [8, …, n]; inputs [inputs, …, n]."""
        count = inputs.shape[-1]
        if count % _BLOCK:
            zeros = np.zeros((*inputs.shape[:-1], -count % _BLOCK), np.int8)
            inputs = np.concatenate([inputs, zeros], -1)
        x: Floats = inputs.astype(self.layers[0][0].dtype)
        x = x.reshape(*x.shape[:-1], -1, _BLOCK).swapaxes(0, -2)
        for weights, biases in self.layers[:-1]:
            x = np.matmul(weights, x)
            x += biases
            np.clip(x, 0, MOST, out=x)
            np.floor(x, out=x)
        weights, biases = self.layers[-1]
        x = np.floor(np.matmul(weights, x) + biases)
        found: NDArray[np.int32] = x.astype(np.int32).swapaxes(0, -2)
        return found.reshape(*found.shape[:-2], -1)[..., :count]


def networks_from_bytes(
    content: bytes, dtype: type[np.floating[Any]] = np.float32
) -> tuple[Network, ...]:
    """Networks of a file: weights of all of them int16, then biases int32, little-endian."""
    shapes = [(out, into) for into, out in pairwise(SIZES)]
    count = 2 * PHASES
    split = 2 * count * sum(out * into for out, into in shapes)
    weights = np.frombuffer(content[:split], "<i2").astype(dtype).reshape(count, -1)
    biases = np.frombuffer(content[split:], "<i4").astype(dtype).reshape(count, -1)
    found = []
    for own_weights, own_biases in zip(weights, biases, strict=True):
        layers = []
        for (out, into), shift in zip(shapes, SHIFTS, strict=True):
            scale = dtype(2.0**-shift)
            layer = own_weights[: out * into].reshape(out, into), own_biases[:out, None]
            layers.append((layer[0] * scale, layer[1] * scale))
            own_weights, own_biases = own_weights[out * into :], own_biases[out:]
        found.append(Network(tuple(layers)))
    return tuple(found)


@lru_cache(maxsize=1)
def _networks() -> tuple[Network, ...]:
    content = _FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256, f"{_FILE} is not as it was fitted"
    return networks_from_bytes(content, np.float32 if _is_exact(np.matmul) else np.float64)


def _is_exact(multiply: Callable[[Floats, Floats], Floats]) -> bool:
    """Whether sums of products of whole numbers are. Some libraries can be set to round factors to
    fewer bits than float32 has; they leave float64 alone, which takes longer."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-8191, 8192, (SIZES[1], SIZES[0]))  # sums stay below 2^24
    inputs = rng.integers(-LARGEST, LARGEST + 1, (SIZES[0], _BLOCK))
    found = multiply(weights.astype(np.float32), inputs.astype(np.float32))
    return bool((found == weights @ inputs).all())


def network_at(later: bool, phase: int) -> Network:
    """Of the first latent of a run, or of a later one; of a phase."""
    return _networks()[PHASES * int(later) + phase]


@lru_cache(maxsize=1)
def _powers() -> NDArray[np.float64]:
    """floor(2^16 / 2^(d/64)) of each d from 0 to 1023.

    >>> _powers()[[0, 1, 64, 1023]].tolist()
    [65536.0, 64830.0, 32768.0, 1.0]
    """
    # x is the largest with x^64 <= 2^(16 * 64 - d)
    return np.array([_root(1 << (16 * UNIT - d)) for d in range(_FAR + 1)], np.float64)


def _root(number: int) -> int:
    """The largest whole number whose 64th power is no larger."""
    low, high = 1, 1 << 17
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**UNIT <= number else (low, middle)
    return low


def bounds_of(outputs: NDArray[np.int32], levels: int) -> NDArray[np.int32]:
    """Where each digit of a plane of so many levels starts out of 2^14, and 2^14: int32
    [levels + 1, n] of outputs [8, n]. No two are the same."""
    first = (DIGITS - levels) // 2
    outputs = outputs[first : first + levels]
    likely = _powers().take(np.minimum(outputs.max(0) - outputs, _FAR))
    sums = np.zeros((levels + 1, outputs.shape[1]))
    for digit, one in enumerate(likely):  # four times as fast as cumsum along this axis
        np.add(sums[digit], one, out=sums[digit + 1])
    # Whole numbers below 2^34: a quotient that is none is further from the next than rounding goes.
    bounds: NDArray[np.int32] = (sums * ((1 << BITS) - levels) / sums[levels]).astype(np.int32)
    bounds += np.arange(levels + 1, dtype=np.int32)[:, None]
    return bounds
