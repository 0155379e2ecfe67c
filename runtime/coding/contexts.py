"""Which digits of a latent are coded together, and what is known of each by then.

A token of FSQ is one digit per plane: its index is d0 + L0 * (d1 + L1 * (d2 + ...)). The positions
of a latent are coded in three phases, and in each phase plane after plane, so that a digit of the
later phases has four neighbours of its plane that are known:

    0 2 0 2      phase 0: y and x are even
    2 1 2 1      phase 1: both are odd; neighbours on the diagonals
    0 2 0 2      phase 2: the rest; neighbours above, below and beside

A neighbour outside of the latent is the one on the other side; where that is outside too, the pair
across stands for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DIGITS",
    "MOST_TABLES",
    "TABLES",
    "Known",
    "Phase",
    "digits_of",
    "phases_of",
    "tokens_of",
]

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """Positions that are coded together; indexes into the flattened grid."""

    number: int
    positions: NDArray[np.intp]
    """[n], row by row."""
    neighbours: NDArray[np.intp]
    """[4, n]: above, below, left, right; on the diagonals: above left, above right, below left,
    below right. Of phase 0, whose own are not known, those of the latent before count."""


@lru_cache(maxsize=8)
def phases_of(height: int, width: int) -> tuple[Phase, ...]:
    """The three phases of a grid; of a small grid later ones may be empty."""
    y, x = np.mgrid[0:height, 0:width]
    y, x = y.reshape(-1), x.reshape(-1)
    odd = (y & 1) + (x & 1)
    found = []
    for number, mask in enumerate((odd == 0, odd == 2, odd == 1)):
        rows, columns = y[mask], x[mask]
        up, down = _pair(rows, height)
        left, right = _pair(columns, width)
        if number == 1:
            places = [(up, left), (up, right), (down, left), (down, right)]
        else:
            no_rows, no_columns = up < 0, left < 0
            beside = [(rows, left), (rows, right)]
            above = [(up, columns), (down, columns)]
            places = [
                (np.where(no_rows, there[0], here[0]), np.where(no_rows, there[1], here[1]))
                for here, there in zip(above, beside, strict=True)
            ] + [
                (np.where(no_columns, there[0], here[0]), np.where(no_columns, there[1], here[1]))
                for here, there in zip(beside, above, strict=True)
            ]
        neighbours = np.stack([row * width + column for row, column in places])
        if height == width == 1:
            neighbours = np.zeros_like(neighbours)
        found.append(Phase(number, np.flatnonzero(mask), neighbours.astype(np.intp)))
    return tuple(found)


def _pair(at: Ints, size: int) -> tuple[Ints, Ints]:
    """Places one before and one behind, each the other one where it is outside; -1: both are."""
    before, behind = at - 1, at + 1
    outside = behind >= size
    first = np.where(before < 0, np.where(outside, -1, behind), before)
    return first, np.where(outside, first, behind)


def digits_of(tokens: Ints, levels: Sequence[int]) -> Ints:
    """The digits of tokens [n], one row for each plane: int32 [planes, n]."""
    digits, rest = np.empty((len(levels), tokens.size), np.int32), tokens.reshape(-1)
    for plane, count in enumerate(levels):
        rest, digits[plane] = np.divmod(rest, np.int32(count))
    return digits


def tokens_of(digits: Ints, levels: Sequence[int]) -> Ints:
    """The opposite of `digits_of`."""
    tokens = np.zeros(digits.shape[1], np.int32)
    for plane in reversed(range(len(levels))):
        tokens = tokens * np.int32(levels[plane]) + digits[plane]
    return tokens


_LARGEST = 255


def _classes(*bounds: int, largest: int = _LARGEST) -> Ints:
    """A table: of each number up to `largest` how many of `bounds` it reaches."""
    return np.searchsorted(np.array(bounds), np.arange(largest + 1), side="right").astype(np.int32)


DIGITS = 8
"""Most levels of a plane."""
_FEW = _classes(1, 2, 3, 5, 8)  # 6
_CHANGE = _classes(1, 2, 4, 6, 9, 14)  # 7
_LITTLE = _classes(1, 3, 6)  # 4
_SPREAD = _classes(1, 2, 3, 5)  # 5
_SPREAD3 = _classes(2, 4)  # 3
_ACT3 = _classes(2, 5)  # 3
_OFF = _classes(1, 2, 4, 6, 9)  # 6
_MEANS = 2 * DIGITS - 1  # of neighbours, in halves
_HOPES = _MEANS + 2
MOST_TABLES = 7
"""That a digit falls into."""
TABLES: dict[str, int] = {
    # of a run's first latent, phase 0
    "first": 1,
    "first other": DIGITS,
    "first others": DIGITS * DIGITS,
    # of a run's first latent, later phases
    "mean": _MEANS * 5,
    "above": DIGITS * DIGITS,
    "beside": DIGITS * DIGITS,
    "mean other": _MEANS * DIGITS,
    "mean off": _MEANS * 6 * 3,
    "others": DIGITS * DIGITS,
    # of later latents, phase 0
    "before change": DIGITS * 5 * 7,
    "before twice": DIGITS * DIGITS,
    "before mean": DIGITS * _MEANS,
    "before other": DIGITS * 9 * 3,
    # of later latents, later phases
    "change": DIGITS * 6 * 7,
    "moved": DIGITS * 9 * 4,
    "before and mean": DIGITS * _MEANS * 3,
    "twice": DIGITS * DIGITS * 3,
    "expected": (_HOPES) * 6 * 3,
    "off": _MEANS * 6 * 3,
    "other": DIGITS * 9 * 7,
}
"""Rows of each table of counts, in the order in which they lie behind one another."""
_BEGIN = dict(zip(TABLES, np.cumsum([0, *TABLES.values()]).tolist(), strict=False))


class Known:
    """What is known of the digits of a phase, from latents before and phases that are coded.

    Args:
        now, before, twice: digits [planes, n] of this latent, the last one and the one before it;
            None: there is none in this run. `now` is filled while planes are coded.
    """

    def __init__(self, phase: Phase, now: Ints, before: Ints | None, twice: Ints | None) -> None:
        self._here, self._now = phase.positions, now
        self._later = phase.number > 0
        around = phase.neighbours
        self._before: Ints | None = None
        self._change = self._off = self._last = np.zeros(len(self._here), np.int32)
        if self._later:
            near = now.take(around, axis=1)  # [planes, 4, n]
            first, second, third, fourth = near.transpose(1, 0, 2)
            self._mean = near.sum(1, dtype=np.int32) >> 1
            high = np.maximum(np.maximum(first, second), np.maximum(third, fourth))
            low = np.minimum(np.minimum(first, second), np.minimum(third, fourth))
            self._spread = high - low
        if before is None:
            if self._later:
                found = [
                    ("mean", self._mean * 5 + _SPREAD.take(self._spread)),
                    ("above", first * DIGITS + second),
                    ("beside", third * DIGITS + fourth),
                ]
            else:
                found = [("first", np.zeros((len(now), len(self._here)), np.int32))]
        else:
            self._before = old = before.take(self._here, axis=1)
            older = old if twice is None else twice.take(self._here, axis=1)
            if self._later:
                found = self._moving(near - before.take(around, axis=1), old, older)
            else:
                mean = before.take(around, axis=1).sum(1, dtype=np.int32) >> 1
                act = np.abs(old - older).sum(0, dtype=np.int32) * 5 // len(now)
                self._act = np.minimum(_FEW.take(np.minimum(act, _LARGEST)), 4)
                found = [
                    ("before twice", old * DIGITS + older),
                    ("before mean", old * _MEANS + mean),
                ]
        self._fixed = len(found)
        self._rows = np.empty((len(now), MOST_TABLES, len(self._here)), np.intp)
        for number, (name, rows) in enumerate(found):
            np.add(rows, _BEGIN[name], out=self._rows[:, number])

    def _moving(self, moved: Ints, old: Ints, older: Ints) -> list[tuple[str, Ints]]:
        """From how the neighbours changed since the latent before, [planes, 4, n]."""
        size = np.abs(moved).sum(1, dtype=np.int32)
        total = size.sum(0, dtype=np.int32) // len(old)
        self._act = act = _FEW.take(total)
        self._act3 = act3 = _ACT3.take(total)
        step = moved.sum(1, dtype=np.int32) >> 1
        hope = np.clip(2 * old + step + 1, 0, _HOPES - 1)
        leaning = np.clip(step + 4, 0, 8)
        return [
            ("moved", (old * 9 + leaning) * 4 + _LITTLE.take(size >> 1)),
            ("before and mean", (old * _MEANS + self._mean) * 3 + act3),
            ("twice", (old * DIGITS + older) * 3 + (act >> 1)),
            ("expected", (hope * 6 + act) * 3 + _SPREAD3.take(self._spread)),
        ]

    def rows(self, plane: int) -> NDArray[np.intp]:
        """Rows of the tables for the digits of a plane, [tables, n].

        It is asked for one plane after another, when those before are in `now`.
        """
        found: list[tuple[str, Ints]] = []
        if plane:
            before_last, self._last = self._last, self._now[plane - 1].take(self._here)
            if self._later:
                self._off = self._off + np.abs(2 * self._last - self._mean[plane - 1])
                off = _OFF.take(self._off * 2 // plane)
        if self._before is None:
            if plane and not self._later:
                found.append(("first other", self._last))
            elif plane:
                mean = self._mean[plane]
                found.append(("mean other", mean * DIGITS + self._last))
                spread = _SPREAD3.take(self._spread[plane])
                found.append(("mean off", (mean * 6 + off) * 3 + spread))
            if plane > 1:
                name = "others" if self._later else "first others"
                found.append((name, self._last * DIGITS + before_last))
        else:
            old, change = self._before[plane], self._change
            if plane:
                step = self._last - self._before[plane - 1]
                self._change = self._change + np.abs(step)
                change = _CHANGE.take(self._change * 4 // plane)
                leaning = np.minimum(np.maximum(step, -4), 4) + 4
            if self._later:
                found.append(("change", (old * 6 + self._act) * 7 + change))
                if plane:
                    found.append(("other", (old * 9 + leaning) * 7 + change))
                    found.append(("off", (self._mean[plane] * 6 + off) * 3 + self._act3))
            else:
                found.append(("before change", (old * 5 + self._act) * 7 + change))
                if plane:
                    little = np.minimum(change >> 1, 2)
                    found.append(("before other", (old * 9 + leaning) * 3 + little))
        tables = self._rows[plane]
        for number, (name, rows) in enumerate(found, self._fixed):
            np.add(rows, _BEGIN[name], out=tables[number])
        rows_of_all: NDArray[np.intp] = tables[: self._fixed + len(found)]
        return rows_of_all
