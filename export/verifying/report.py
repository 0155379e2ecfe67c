"""The table and the report that comparisons make."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.loss import Loss
from vidtok_edge.runtime.manifest.documents import write_document
from vidtok_edge.runtime.manifest.manifest import EntryQuality

__all__ = ["ParityReport"]


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What a verification found; truthy where everything passed, and where there was something."""

    variant: str
    backend: str
    comparisons: tuple[Comparison, ...]
    losses: tuple[Loss, ...] = ()
    """What each precision costs; nothing where there is float32 alone."""
    entries: tuple[EntryQuality, ...] = ()
    """What decoding from the middle costs; nothing where it was not measured."""

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
            rows.append((c.name, c.metric, f"{c.value:.3g}", c.limit_text, c.verdict, c.note))
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
            "losses": [_finite(asdict(loss)) for loss in self.losses],
            "entries": [asdict(entry) for entry in self.entries],
            "comparisons": [{**_finite(asdict(c)), "passed": bool(c)} for c in self.comparisons],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_document(path, content)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """With numbers that JSON does not have as text."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
