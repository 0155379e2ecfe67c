"""What a bundle's verification said of its precisions, as far as the benchmark shows it."""

from __future__ import annotations

import json
from pathlib import Path

from vidtok_edge.bounded import read_at_most
from vidtok_edge.runtime.bench.candidate_result import ClipQuality

__all__ = ["PARITY_REPORT", "qualities_of"]

PARITY_REPORT = "reports/parity.json"
_LARGEST_NUMBER = 1e15  # as a document of a benchmark may hold
_LARGEST = 1 << 22  # bytes; a real one has some 10,000


def qualities_of(bundle: Path) -> list[ClipQuality]:
    """From the report that lies in the bundle; nothing where there is none that can be read."""
    try:
        losses = json.loads(read_at_most(bundle / PARITY_REPORT, _LARGEST))["losses"]
        return [
            ClipQuality(
                graphs=str(loss["graphs"]),
                clip=str(loss["clip"]),
                tokens_equal=_finite(loss["tokens_equal"]),
                psnr_db=_number(loss["source_psnr_db"]),
                ssim=_number(loss["source_ssim"]),
                loss_db=_number(loss["loss_db"]),
            )
            for loss in losses
            if _finite(loss["source_psnr_db"]) is not None
        ]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return []


def _finite(value: object) -> float | None:
    """None where there is no number, or none that JSON can hold."""
    if not isinstance(value, int | float) or not abs(value) < _LARGEST_NUMBER:
        return None
    return float(value)


def _number(value: object) -> float:
    """Raises ValueError where `_finite` has none."""
    number = _finite(value)
    if number is None:
        raise ValueError("no number that JSON can hold")
    return number
