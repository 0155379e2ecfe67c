"""What is known of each digit by the time it is coded, as numbers for a network.

Values are digits about zero: 2 * d - (L - 1) of a digit d of L levels, from -7 to 7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.planes import PHASES, Order

__all__ = ["INPUTS", "LARGEST", "History", "Inputs"]

LARGEST = 127
"""Inputs lie between -127 and 127."""
_NAMES = """
    before0 before1 before2 before3 before4 before5 before6 before7 before8 twice thrice
    still still_all place equal
    moved moved_all moved_around moved_around_all
    near0 near1 near2 near3 spread spread_all
    turned turned0 turned1 turned2 turned3 equal_phases
    value1 value2 value3 value4 step1 step2 step3 step4 steps equal_steps largest_step
    off1 off2 offs plane0 plane1 plane2 plane3 plane4
"""
INPUTS = {name: number for number, name in enumerate(_NAMES.split())}
"""The number of each; what they are is said in docs/recording_format.md."""
_PLANES = 5  # that are told apart
_EVERY = slice(None)
_DEPTH = {"value1": 4, "step1": 4, "off1": 2}  # of so many planes before

Shorts = NDArray[np.int16]


class History:
    """What came before in a run, at every position of every plane and one outside of the grid."""

    def __init__(self, planes: int, count: int) -> None:
        self.latents = 0
        nothing = np.zeros((planes, count + 1), np.int16)
        self.before = self.twice = self.thrice = nothing
        """The latent before, and the ones before it; where the run has none, its first."""
        self.moved = self.still = nothing
        """By how much the last one changed, and for how many latents it had not, 7 at most."""
        self.equal = 0
        """How many of all digits did not, in 127ths."""

    def add(self, values: Shorts) -> None:
        """The next latent of the run, [planes, h * w + 1]; it is kept."""
        if self.latents:
            self.twice, self.thrice = self.before, self.twice
            self.moved = np.abs(values - self.before)
            same = self.moved == 0
            self.still = np.where(same, np.minimum(self.still + 1, 7), 0).astype(np.int16)
            self.equal = _share(same[:, :-1])
        else:
            self.twice = self.thrice = values
        self.before = values
        self.latents += 1


def _share(same: NDArray[np.bool_]) -> int:
    """How many of all, in 127ths; of none, 0."""
    return LARGEST * int(np.count_nonzero(same)) // max(1, same.size)


class Inputs:
    """The inputs of the digits of a latent, int8 [inputs, planes, h * w], in their order.

    Args:
        now: values [planes, h * w + 1] of this latent, the last of each 0. It may be filled later:
            what is asked for is made of digits that come before, in the order of decoding.
    """

    def __init__(self, order: Order, now: Shorts, past: History) -> None:
        planes, count = len(now), len(order.positions)
        self._order, self._now, self._past = order, now, past
        self.values = np.zeros((len(INPUTS), planes, count), np.int8)
        self._before = past.before.take(order.positions, axis=1)
        self._near = np.zeros_like(self._before)
        self._steps, self._same, self._largest, self._offs = np.zeros((4, count), np.int16)
        if past.latents:
            self._from_history(past)

    def _put(self, name: str, value: Shorts | int, own: slice = _EVERY) -> None:
        self.values[INPUTS[name], :, own] = value

    def _from_history(self, past: History) -> None:
        at, planes = self._order.positions, len(self._before)
        around = past.before.take(self._order.around, axis=1)
        self.values[INPUTS["before0"] : INPUTS["before8"] + 1] = around.transpose(1, 0, 2)
        self._put("twice", past.twice.take(at, axis=1))
        self._put("thrice", past.thrice.take(at, axis=1))
        self._put("still", past.still.take(at, axis=1))
        self._put("still_all", (8 * past.still.sum(0, dtype=np.int16) // planes).take(at))
        self._put("place", 2 * min(past.latents, 7))
        self._put("equal", past.equal)
        self._put("moved", past.moved.take(at, axis=1))
        self._put("moved_all", (4 * past.moved.sum(0, dtype=np.int16) // planes).take(at))
        moved = past.moved.take(self._order.around, axis=1).sum(1, dtype=np.int16)
        self._put("moved_around", moved)
        self._put("moved_around_all", moved.sum(0, dtype=np.int16) // planes)

    def add_phases(self, own: slice) -> None:
        """Add what the phases before say of the digits at some positions, which are `own` of all
        in their order: those of one phase, or of all."""
        around, planes = self._order.neighbours[:, own], len(self._before)
        near = self._now.take(around, axis=1)  # [planes, 4, n]
        turned = np.abs(near - self._past.before.take(around, axis=1))
        spread = near.max(1) - near.min(1)
        self._near[:, own] = near.sum(1, dtype=np.int16) >> 2
        self._put("spread", spread, own)
        self._put("spread_all", spread.sum(0, dtype=np.int16) // planes, own)
        self._put("turned", turned.sum(1, dtype=np.int16), own)
        turned_all = 4 * turned.sum(0, dtype=np.int16) // planes
        for number in range(4):
            self._put(f"near{number}", near[:, number], own)
            self._put(f"turned{number}", turned_all[number], own)
        if self._past.latents:
            self._put("equal_phases", self._equal_before().take(self._order.phases[own]), own)

    def _equal_before(self) -> Shorts:
        """Of each phase, how many of the digits of those before it are as they were, in 127ths."""
        grid = self._order.grid
        equal = (self._now == self._past.before)[:, :-1].sum(0)
        same = np.bincount(grid, equal, PHASES).astype(np.int64).cumsum()
        count = np.bincount(grid, minlength=PHASES).cumsum() * len(self._now)
        return np.array([0, *(LARGEST * same // count)[:-1]], np.int16)

    def add_plane(self, plane: int, own: slice) -> NDArray[np.int8]:
        """Add what the planes before one say: its inputs, [inputs, n]."""
        found: NDArray[np.int8] = self.values[:, plane, own]
        found[INPUTS["plane0"] + min(plane, _PLANES - 1)] = 16
        if plane:
            value = self._now[plane - 1].take(self._order.positions[own])
            step = value - self._before[plane - 1, own]
            off = value - self._near[plane - 1, own]
            size = np.abs(step)
            self._steps[own] += size
            self._same[own] += size == 0
            self._offs[own] += np.abs(off)
            np.maximum(self._largest[own], size, out=self._largest[own])
            found[INPUTS["steps"]] = 4 * self._steps[own] // plane
            found[INPUTS["equal_steps"]] = 16 * self._same[own] // plane
            found[INPUTS["largest_step"]] = self._largest[own]
            found[INPUTS["offs"]] = 4 * self._offs[own] // plane
            for name, latest in (("value1", value), ("step1", step), ("off1", off)):
                first = INPUTS[name]
                found[first] = latest
                more = slice(first + 1, first + _DEPTH[name])
                found[more] = self.values[first : first + _DEPTH[name] - 1, plane - 1, own]
        return found
