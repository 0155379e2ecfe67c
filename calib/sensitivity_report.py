"""`reports/sensitivity.json` of a bundle: every number behind its mix of float and INT8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidtok_edge import __version__
from vidtok_edge.calib.budget import Budget, MixPoint
from vidtok_edge.calib.ranges import make_folder
from vidtok_edge.calib.sensitivity import LayerDamage
from vidtok_edge.runtime.manifest.documents import write_document

__all__ = ["REPORT", "write_report"]

REPORT = "reports/sensitivity.json"
"""Where the file lies inside a bundle."""


def write_report(
    bundle: Path,
    *,
    clip: str,
    frames: int,
    fp32_psnr_db: float,
    budget: Budget,
    chosen: MixPoint,
    points: Sequence[MixPoint],
    damages: Sequence[LayerDamage],
) -> Path:
    """Write the file into the folder `bundle`; returns its path. PSNR of equal pictures is null.

    Args:
        bundle: a bundle's folder.
        clip: the name of the clip that was measured on.
        frames: how many of it, from its beginning.
        fp32_psnr_db: of float32 against it.
        budget: what was asked for.
        chosen: the mix that the bundle's graphs have.
        points: every mix that was measured.
        damages: of each layer alone.

    Raises:
        OutputNotWritable.
    """
    content = {
        "schema": 1,
        "toolkit": __version__,
        "clip": clip,
        "frames": frames,
        "fp32_psnr_db": fp32_psnr_db,
        "budget": asdict(budget),
        "chosen": asdict(chosen),
        "mixes": [asdict(point) for point in points],
        "layers": [asdict(damage) for damage in damages],
    }
    path = make_folder(bundle / REPORT)
    write_document(path, _finite(content))
    return path


def _finite(value: Any) -> Any:
    """The same with null for inf, which JSON has not."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
