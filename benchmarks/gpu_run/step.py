"""A step of the run: a command, how long it takes, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Need", "Step"]


@dataclass(frozen=True, slots=True)
class Need:
    """Something that this machine has or lacks."""

    name: str
    missing: Callable[[], str]
    """Why it is not here and what to do about it; an empty text where it is here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command in a process of its own."""

    name: str
    what: str
    """What it settles, for a table."""
    command: tuple[str, ...]
    expected_s: float
    """About how long it takes; it is not begun where less time is left."""
    limit_s: float
    """When it is stopped."""
    needs: tuple[Need, ...] = ()
    after: tuple[str, ...] = ()
    """Steps that make what it needs."""
    leaves_at: frozenset[int] = frozenset({0})
    """Exit codes with which it has made what others need: engines that fail their proof run."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.expected_s <= self.limit_s:
            raise ValueError(
                f"{self.name} is expected to take {self.expected_s} s, with a limit of "
                f"{self.limit_s} s; expect more than 0 s, and no more than the limit."
            )
