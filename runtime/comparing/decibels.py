"""How much two tensors differ: the signal of one over the error of the other, in dB."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BEST_DB", "added", "decibels"]

BEST_DB = 150.0
"""Of what is equal; of what is no number, or compared with nothing but zeros, minus as much."""


def decibels(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Signal over error of `other`, dB between -BEST_DB and BEST_DB.

    Args:
        reference: what it should be; values of any type.
        other: of the same shape.
    """
    if reference.shape != other.shape:
        raise ValueError(f"{list(other.shape)} is not compared with {list(reference.shape)}")
    wanted, got = (np.asarray(value, np.float64).ravel() for value in (reference, other))
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is told
        difference = got - wanted
        error, power = float(difference @ difference), float(wanted @ wanted)
    if error == 0:
        return BEST_DB
    if power == 0 or not (math.isfinite(error) and math.isfinite(power)):
        return -BEST_DB
    return max(-BEST_DB, min(BEST_DB, 10 * math.log10(power / error)))


def added(values: Iterable[float]) -> float:
    """dB of the errors of all `values` together, as of two steps after one another."""
    return -10 * math.log10(sum(10 ** (-value / 10) for value in values))
