"""What a session gives up, step by step, where encoding cannot keep up, and takes back later."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from vidtok_edge.errors import UsageError

__all__ = ["Ladder", "LadderPlan", "Rung", "is_behind"]

_PRECISIONS = ("fp32", "fp16", "int8")
_HOLD_NS = 1_000_000_000
"""A queue that is full and empty in turn, once with each step, is behind all the time."""
_RATES = {"half-rate": 2, "third-rate": 3, "quarter-rate": 4}


@dataclass(frozen=True, slots=True)
class Rung:
    """How is encoded on one step of the ladder."""

    precision: str | None = None
    """None: as asked for."""
    every: int = 1
    """Of so many frames one is encoded."""

    def __str__(self) -> str:
        """In words, as markers say it; empty: as asked for."""
        rate = next((name for name, every in _RATES.items() if every == self.every), "")
        return ", ".join(word for word in (self.precision, rate) if word)

    def below(self, word: str) -> Rung:
        """This one with another thing given up. Raises UsageError: nothing is called so."""
        if word in _PRECISIONS:
            return Rung(word, self.every)
        if word in _RATES:
            return Rung(self.precision, _RATES[word])
        raise UsageError(
            f"A step of the ladder is called {word!r}; allowed: {', '.join(_PRECISIONS)}, "
            f"{', '.join(_RATES)}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPlan:
    """The steps, and when they are taken. Raises UsageError for times that mean nothing."""

    rungs: tuple[Rung, ...]
    """From what was asked for down; each gives up what those before it do."""
    late_after_s: float = 2.0
    """Encoding was behind for so long, and never not for a second, when a step down is taken."""
    climb_after_s: float = 30.0
    """And was not for so long when one up is."""

    def __post_init__(self) -> None:
        for name, value in (("down", self.late_after_s), ("up", self.climb_after_s)):
            if not 0.1 <= value < 1e6:
                raise UsageError(f"A step {name} is taken after {value:g} s; allowed: 0.1 or more.")

    @staticmethod
    def rungs_of(text: str) -> tuple[Rung, ...]:
        """The rungs that a line names, as `int8,half-rate`. Raises UsageError: it names none."""
        words = [word.strip() for word in text.split(",")]
        rungs = tuple(accumulate(words, Rung.below, initial=Rung()))
        if len(set(rungs)) < len(rungs):
            raise UsageError(f"The ladder {text!r} has a step that changes nothing.")
        for upper, lower in pairwise(rungs):
            if lower.every < upper.every:
                raise UsageError(
                    f"The ladder {text!r} goes from {upper} up to {lower}, where encoding is late. "
                    "Name rates in the order half-rate, third-rate, quarter-rate."
                )
        return rungs


class Ladder:
    """Where a session stands on its ladder: nothing but what it is told and a plan decide."""

    def __init__(self, plan: LadderPlan) -> None:
        self._plan = plan
        self._place = 0
        self.went_down = False
        """The last step was one down."""
        self._behind_since_ns: int | None = None
        self._last_behind_ns = self._stepped_ns = 0

    @property
    def rung(self) -> Rung:
        """The present one."""
        return self._plan.rungs[self._place]

    def look(self, now_ns: int, *, behind: bool) -> Rung | None:
        """Where to go now; None: stay.

        Args:
            behind: a frame that comes now waited too long, or some were dropped.
        """
        held = now_ns - self._last_behind_ns <= _HOLD_NS
        if behind:
            if self._behind_since_ns is None or not held:
                self._behind_since_ns = now_ns
            self._last_behind_ns = now_ns
            last = self._place == len(self._plan.rungs) - 1
            if last or now_ns - self._behind_since_ns < self._plan.late_after_s * 1e9:
                return None
            return self._go(self._place + 1, now_ns)
        well_ns = now_ns - max(self._last_behind_ns, self._stepped_ns)
        if held or not self._place or well_ns < self._plan.climb_after_s * 1e9:
            return None
        return self._go(self._place - 1, now_ns)

    def _go(self, place: int, now_ns: int) -> Rung:
        self.went_down = place > self._place
        self._place, self._stepped_ns = place, now_ns
        self._behind_since_ns = None
        return self.rung


def is_behind(waited_ns: float, apart_ns: float, *, dropped: bool = False) -> bool | None:
    """Whether encoding is behind, by how long a frame waited; None: nothing can be said.

    It is when that is longer than two latents are apart, for then the encoder has not even begun
    with what came before, and when frames were dropped. It is not when it is less than half of it.
    """
    if dropped or waited_ns > apart_ns:
        return True
    return False if waited_ns <= apart_ns / 2 else None
