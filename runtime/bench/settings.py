"""How every candidate of a benchmark is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vidtok_edge.errors import UsageError

__all__ = ["Pace", "Policy", "Settings"]

_MOST = 1e6
"""Of any setting: seconds are eleven days then."""

Policy = Literal["block", "drop-oldest", "drop-newest"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How frames come. `fps` None: saturated."""

    fps: float | None
    policy: Policy = "block"
    capacity: int = 8
    """Frames of a camera that wait at most before `drop-oldest` and `drop-newest` drop."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How every candidate is measured."""

    pace: Pace
    seconds: float = field(default=10.0, kw_only=True)
    """Measured time of each candidate, all rounds together."""
    warmup_s: float = field(default=2.0, kw_only=True)
    """Before each turn's measuring; not in any figure but start-up and time to first token."""
    rounds: int = field(default=1, kw_only=True)
    decode: bool = field(default=False, kw_only=True)
    deadline_ms: float | None = field(default=None, kw_only=True)
    """None: the period of a chunk at the camera's rate."""
    clip: str | None = field(default=None, kw_only=True)
    """None: a synthetic moving picture."""
    camera_fps: float = field(default=30.0, kw_only=True)
    """The rate that real time means in a saturated run."""
    meters: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        positive = {
            "seconds": self.seconds,
            "rounds": self.rounds,
            "fps": self.camera_fps,
            "paced": self.pace.fps,
            "capacity": self.pace.capacity,
            "deadline": self.deadline_ms,
        }
        for name, value in positive.items():
            if value is not None and not 0 < value <= _MOST:  # so that NaN is refused, too
                raise UsageError(f"{name} is {value}; use more than 0, and at most {_MOST:g}.")
        if not 0 <= self.warmup_s <= _MOST:
            raise UsageError(f"warmup is {self.warmup_s}; use 0 to {_MOST:g} seconds.")

    @property
    def fps(self) -> float:
        """The camera's."""
        return self.camera_fps if self.pace.fps is None else self.pace.fps
