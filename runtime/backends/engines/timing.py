"""Calls that are timed beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

__all__ = ["medians_in_turn"]


def medians_in_turn(
    calls: Sequence[Callable[[], object]], *, rounds: int, in_a_round: int
) -> list[float]:
    """Of each of `calls` what it takes in milliseconds: the median over rounds of the mean of one.

    All in turn, round after round, so that clocks and heat are the same for all; a round before
    them warms up.
    """
    means: list[list[float]] = [[] for _ in calls]
    for round_ in range(rounds + 1):
        for call, found in zip(calls, means, strict=True):
            start = time.perf_counter()
            for _ in range(in_a_round):
                call()
            if round_:
                found.append(1000 * (time.perf_counter() - start) / in_a_round)
    return [median(found) for found in means]
