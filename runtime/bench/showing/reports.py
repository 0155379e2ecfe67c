"""What a bundle's verification said of its precisions, as far as the benchmark shows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

__all__ = ["PARITY_REPORT", "ClipQuality", "mean_psnr_db", "qualities_of"]

PARITY_REPORT = "reports/parity.json"


@dataclass(frozen=True, slots=True)
class ClipQuality:
    """One precision on one clip."""

    graphs: str
    """`fp32`, `fp16`, `int8`, `int8-tensorrt`."""
    clip: str
    tokens_equal: float | None
    """To those of float32, as a share."""
    psnr_db: float
    """Of the reconstruction against the source."""
    ssim: float
    loss_db: float
    """Of PSNR, to float32's."""


def qualities_of(bundle: Path) -> list[ClipQuality]:
    """From the report that lies in the bundle; nothing where there is none that can be read."""
    try:
        losses = json.loads((bundle / PARITY_REPORT).read_text(encoding="utf-8"))["losses"]
        return [
            ClipQuality(
                str(loss["graphs"]),
                str(loss["clip"]),
                None if loss["tokens_equal"] is None else float(loss["tokens_equal"]),
                float(loss["source_psnr_db"]),
                float(loss["source_ssim"]),
                float(loss["loss_db"]),
            )
            for loss in losses
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def mean_psnr_db(qualities: list[ClipQuality], graphs: str) -> float | None:
    """Over the clips; None where the report says nothing of `graphs`."""
    found = [quality.psnr_db for quality in qualities if quality.graphs == graphs]
    return fmean(found) if found else None
