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
_DEPTH = {"value1": 4, "step1": 4, "off1": 2}  # of so many planes before

Shorts = NDArray[np.int16]
Floats = NDArray[np.float32]


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
    """The inputs of the digits at some positions, float32 [inputs, planes, n].

    Args:
        order: the positions, of whole phases.
        now: values [planes, h * w + 1] of this latent, the last of each 0. Those of phases before
            must be there; those of planes before when `add_plane` is called.
    """

    def __init__(self, order: Order, now: Shorts, past: History) -> None:
        planes, count = len(now), len(order.positions)
        self._order, self._now = order, now
        self.values = np.zeros((len(INPUTS), planes, count), np.float32)
        self._before = past.before.take(order.positions, axis=1)
        if past.latents:
            self._from_history(past)
        self._from_phases(past)
        self._steps, self._same, self._largest, self._offs = np.zeros((4, count), np.int16)

    def _put(self, name: str, value: Shorts | int) -> None:
        self.values[INPUTS[name]] = value

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

    def _from_phases(self, past: History) -> None:
        around, planes = self._order.neighbours, len(self._before)
        near = self._now.take(around, axis=1)  # [planes, 4, n]
        turned = np.abs(near - past.before.take(around, axis=1))
        spread = near.max(1) - near.min(1)
        self._near = near.sum(1, dtype=np.int16) >> 2
        self.values[INPUTS["near0"] : INPUTS["near3"] + 1] = near.transpose(1, 0, 2)
        self._put("spread", spread)
        self._put("spread_all", spread.sum(0, dtype=np.int16) // planes)
        self._put("turned", turned.sum(1, dtype=np.int16))
        turned_all = 4 * turned.sum(0, dtype=np.int16) // planes
        self.values[INPUTS["turned0"] : INPUTS["turned3"] + 1] = turned_all[:, None]
        if past.latents:
            self._put("equal_phases", self._equal_before(past).take(self._order.phases))

    def _equal_before(self, past: History) -> Shorts:
        """Of each phase, how many of the digits of those before it are as they were, in 127ths."""
        grid = self._order.grid
        equal = (self._now == past.before)[:, :-1].sum(0)
        same = np.bincount(grid, equal, PHASES).astype(np.int64).cumsum()
        count = np.bincount(grid, minlength=PHASES).cumsum() * len(self._now)
        return np.array([0, *(LARGEST * same // count)[:-1]], np.int16)

    def add_plane(self, plane: int) -> NDArray[np.float32]:
        """Add what the planes before one say of it: its inputs, [inputs, n]."""
        found: NDArray[np.float32] = self.values[:, plane]
        found[INPUTS["plane0"] + min(plane, _PLANES - 1)] = 16
        if plane:
            value = self._now[plane - 1].take(self._order.positions)
            step, off = value - self._before[plane - 1], value - self._near[plane - 1]
            size = np.abs(step)
            self._steps += size
            self._same += size == 0
            self._offs += np.abs(off)
            np.maximum(self._largest, size, out=self._largest)
            found[INPUTS["steps"]] = 4 * self._steps // plane
            found[INPUTS["equal_steps"]] = 16 * self._same // plane
            found[INPUTS["largest_step"]] = self._largest
            found[INPUTS["offs"]] = 4 * self._offs // plane
            for name, latest in (("value1", value), ("step1", step), ("off1", off)):
                first = INPUTS[name]
                found[first] = latest
                more = slice(first + 1, first + _DEPTH[name])
                found[more] = self.values[first : first + _DEPTH[name] - 1, plane - 1]
        return found
