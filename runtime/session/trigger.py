"""When moments are kept, out of a session that writes nothing else, and how much around them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.streaming.records import Sample

__all__ = ["LEAST_RING", "TriggerPlan", "TriggerWhen"]

LEAST_RING = 100_000
"""Bytes."""
_LONGEST_S = 3600.0
_LONGEST_KEY_S = 10.0  # between keys that nobody asked for
_WHEN = re.compile(
    r"\s*(?P<channel>[A-Za-z][\w./-]*)\s*(?:\[\s*(?P<place>\d{1,4})\s*\])?"
    r"\s*(?P<sign>>=|<=|==|!=|>|<)\s*(?P<limit>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TriggerWhen:
    """A comparison of one number of a data channel, as `estop>0.5` or `arm/force[2]<=-30`.

    What is compared is the value at `place`, from 0. A NaN, an event, and a sample that has no such
    value compare as false.
    """

    channel: str
    place: int
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> TriggerWhen:
        """Read one. Raises UsageError: it is none."""
        found = _WHEN.fullmatch(text)
        try:
            limit = float(found["limit"]) if found else float("nan")
        except ValueError:
            limit = float("nan")
        if found is None or not abs(limit) < float("inf"):
            raise UsageError(
                f"{text!r} is no comparison. Write a channel, the place of a value in it where it "
                "has several, one of > >= < <= == !=, and a number: estop>0.5, arm/force[2]<=-30."
            )
        return cls(found["channel"], int(found["place"] or 0), found["sign"], limit)

    def holds(self, sample: Sample) -> bool:
        """Whether it is true of a sample of its channel."""
        if sample.values is None or self.place >= len(sample.values):
            return False
        value = float(sample.values[self.place])
        if value != value:  # NaN, of which != would be true
            return False
        return {
            ">": value > self.limit,
            ">=": value >= self.limit,
            "<": value < self.limit,
            "<=": value <= self.limit,
            "==": value == self.limit,
            "!=": value != self.limit,
        }[self.sign]

    def __str__(self) -> str:
        place = f"[{self.place}]" if self.place else ""
        return f"{self.channel}{place}{self.sign}{self.limit:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerPlan:
    """How much is kept around a moment. Raises UsageError for values that mean nothing."""

    before_s: float = 10.0
    """An event begins at a key that lies so long before what triggered it, or longer."""
    after_s: float = 10.0
    """It ends so long after the last thing that triggered it."""
    ring_bytes: int = 64_000_000
    """At most so much is held in memory; what is oldest goes."""
    when: tuple[TriggerWhen, ...] = ()
    """Comparisons that trigger, and hold an event open as long as they are true."""

    def __post_init__(self) -> None:
        for name, value in (("before", self.before_s), ("after", self.after_s)):
            if not 0 <= value <= _LONGEST_S:
                raise UsageError(
                    f"The time {name} a trigger is {value:g} s; allowed: 0 to {_LONGEST_S:g}."
                )
        if self.ring_bytes < LEAST_RING:
            raise UsageError(
                f"The ring has {self.ring_bytes} bytes; allowed: {LEAST_RING} or more."
            )

    @property
    def key_interval_s(self) -> float:
        """How often a stream begins where nobody asked for another interval."""
        return min(_LONGEST_KEY_S, max(1.0, self.before_s))
