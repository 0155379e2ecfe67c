"""Plots as SVG text: axes with round numbers, lines, dots, bars. Colours are CSS classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["Axis", "Plot", "round_ticks"]

WIDTH, HEIGHT = 760, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 46

Point = tuple[float, float]


def round_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`.

    >>> round_ticks(0, 134)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0]
    """
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-12) / about))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= about + 1)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 2e3 else (1,)
    return [m * 10.0**d for d in decades for m in steps if low <= m * 10.0**d <= high * 1.0001]


@dataclass(frozen=True, slots=True)
class Axis:
    """What runs along one side. `ticks`: (value, text), round numbers where there are none."""

    title: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def share(self, value: float) -> float:
        """0 at `low`, 1 at `high`; what lies outside is drawn at the edge."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low) if high > low else 0.5

    def marks(self) -> list[tuple[float, str]]:
        """Where it is marked, and how."""
        if self.ticks:
            return list(self.ticks)
        values = _log_ticks(self.low, self.high) if self.log else round_ticks(self.low, self.high)
        return [(value, f"{value:g}") for value in values]


@dataclass
class Plot:
    """One picture with two axes; what is added later lies on top."""

    x: Axis
    y: Axis
    label: str
    """What it shows, for those who cannot see it."""
    height: int = HEIGHT
    _parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """Where a value lies, in the picture's units."""
        wide, high = WIDTH - LEFT - RIGHT, self.height - TOP - BOTTOM
        return (
            round(LEFT + wide * self.x.share(x), 1),
            round(TOP + high * (1 - self.y.share(y)), 1),
        )

    def line(self, points: Sequence[Point], kind: str) -> None:
        """Straight from point to point."""
        if points:
            places = " ".join(f"{a:g},{b:g}" for a, b in (self.at(*p) for p in points))
            self._parts.append(f'<polyline class="line {kind}" points="{places}"/>')

    def dots(self, points: Sequence[Point], kind: str) -> None:
        """Small dots, as one path: thousands stay small and quick."""
        if points:
            places = "".join(f"M{a:g} {b:g}h0" for a, b in (self.at(*p) for p in points))
            self._parts.append(f'<path class="dots {kind}" d="{places}"/>')

    def crosses(self, points: Sequence[Point], kind: str) -> None:
        """Crosses, which are told from dots without their colour."""
        if points:
            places = "".join(
                f"M{a - 4:g} {b - 4:g}l8 8m0 -8l-8 8" for a, b in (self.at(*p) for p in points)
            )
            self._parts.append(f'<path class="crosses {kind}" d="{places}"/>')

    def level(self, y: float, text: str, kind: str = "limit") -> None:
        """A line across, with its name above its right end."""
        _, place = self.at(self.x.low, y)
        right = WIDTH - RIGHT
        self._parts.append(
            f'<path class="level {kind}" d="M{LEFT} {place:g}H{right}"/>'
            f'<text class="levelname {kind}" x="{right - 4}" y="{place - 5:g}" '
            f'text-anchor="end">{escape(text)}</text>'
        )

    def upright(self, x: float, text: str = "", kind: str = "limit") -> None:
        """A line from top to bottom, with its name beside its top."""
        place, _ = self.at(x, self.y.low)
        end = "end" if self.x.share(x) > 0.8 else "start"
        shift = -5 if end == "end" else 5
        self._parts.append(
            f'<path class="level {kind}" d="M{place:g} {TOP}V{self.height - BOTTOM}"/>'
            f'<text class="levelname {kind}" x="{place + shift:g}" y="{TOP + 11}" '
            f'text-anchor="{end}">{escape(text)}</text>'
        )

    def mark(self, x: float, y: float, kind: str, hint: str) -> None:
        """One large dot; what it is shows where the pointer is."""
        a, b = self.at(x, y)
        self._parts.append(
            f"<g><title>{escape(hint)}</title>"
            f'<circle class="mark {kind}" cx="{a:g}" cy="{b:g}" r="6"/></g>'
        )

    def svg(self) -> str:
        """The picture."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(self.label, quote=True)}">{self._axes()}{"".join(self._parts)}'
            "</svg>"
        )

    def _axes(self) -> str:
        bottom, right = self.height - BOTTOM, WIDTH - RIGHT
        parts = []
        for value, text in self.y.marks():
            _, place = self.at(self.x.low, value)
            parts.append(
                f'<path class="grid" d="M{LEFT} {place:g}H{right}"/>'
                f'<text class="tick" x="{LEFT - 8}" y="{place + 4:g}" text-anchor="end">'
                f"{escape(text)}</text>"
            )
        for value, text in self.x.marks():
            place, _ = self.at(value, self.y.low)
            parts.append(
                f'<path class="notch" d="M{place:g} {bottom}v5"/>'
                f'<text class="tick" x="{place:g}" y="{bottom + 18}" text-anchor="middle">'
                f"{escape(text)}</text>"
            )
        middle = (TOP + bottom) / 2
        parts.append(
            f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
            f'<text class="title" x="{(LEFT + right) / 2:g}" y="{self.height - 8}" '
            f'text-anchor="middle">{escape(self.x.title)}</text>'
            f'<text class="title" transform="translate(14 {middle:g}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y.title)}</text>'
        )
        return "".join(parts)
