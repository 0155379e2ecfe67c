"""What a bundle's verification said of its precisions, as far as the benchmark shows it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from vidtok_edge.bounded import read_at_most
from vidtok_edge.runtime.bench.document import ClipQuality

__all__ = ["PARITY_REPORT", "qualities_of"]

PARITY_REPORT = "reports/parity.json"
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
                psnr_db=float(loss["source_psnr_db"]),
                ssim=float(loss["source_ssim"]),
                loss_db=float(loss["loss_db"]),
            )
            for loss in losses
            if _finite(loss["source_psnr_db"]) is not None
        ]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return []


def _finite(value: object) -> float | None:
    """None where there is no number, or none that JSON can hold."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
