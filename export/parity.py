"""Comparisons with a limit each, and the table and report that they make."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from vidtok_edge.runtime.files import write_beside

__all__ = ["Comparison", "ParityReport"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number next to its limit; truthy where it passed."""

    name: str
    metric: str
    value: float
    limit: float
    """`value` must not be above it; NaN never passes."""
    note: str = ""

    def __bool__(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self else "FAILED"
        return f"{self.name}: {self.metric} {self.value:.3g}, limit {self.limit:.3g}: {verdict}"


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What a verification found; truthy where everything passed, and where there was something."""

    variant: str
    backend: str
    comparisons: tuple[Comparison, ...]

    def __bool__(self) -> bool:
        return bool(self.comparisons) and all(self.comparisons)

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """The comparisons that did not pass."""
        return tuple(c for c in self.comparisons if not c)

    def table(self) -> str:
        """The report for a terminal."""
        rows = [("comparison", "metric", "value", "limit", "verdict", "")]
        for c in self.comparisons:
            verdict = "ok" if c else "FAILED"
            rows.append((c.name, c.metric, f"{c.value:.3g}", f"{c.limit:.3g}", verdict, c.note))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return "\n".join(
            "  ".join(
                [*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[5]]
            ).rstrip()
            for row in rows
        )

    def write(self, path: Path, facts: Iterable[tuple[str, str]] = ()) -> None:
        """Store it as JSON, with `facts` about the machine."""
        content = {
            "passed": bool(self),
            "variant": self.variant,
            "backend": self.backend,
            **dict(facts),
            "comparisons": [{**asdict(c), "passed": bool(c)} for c in self.comparisons],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_beside(path, force=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
