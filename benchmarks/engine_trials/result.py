"""What trials found, as JSON and as rows of a table; needs neither PyTorch nor TensorRT."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidtok_edge.runtime.files import write_beside

__all__ = ["Result", "layers_beside", "rows_of", "write_result"]

DEAREST = 3
"""Kinds of layers in a row of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One trial. What was not found out is None."""

    trial: str
    status: str
    """`timed`, `failed`, or `not reached` in time; `written` where nothing else was asked for."""
    why: str = ""
    """It failed, or how far it came."""
    operators: Mapping[str, int] | None = None
    """Nodes of the ONNX graph."""
    write_s: float | None = None
    build_s: float | None = None
    engine_mb: float | None = None
    median_ms: float | None = None
    min_ms: float | None = None
    back_to_back_ms: float | None = None
    scratch_mb: float | None = None
    kinds: Mapping[str, tuple[int, float]] | None = None
    equal_tokens: float | None = None
    psnr_db: float | None = None
    layers: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """In a file of their own."""


def write_result(
    path: Path, results: Sequence[Result], *, machine: Mapping[str, Any], size: int
) -> None:
    """Write `path`, and the layers beside it; what was there is replaced."""
    found = [asdict(one) for one in results]
    layers = {one["trial"]: kept for one in found if (kept := one.pop("layers"))}
    document = {"trials": found, "size": size, "machine": machine}
    texts = {path: json.dumps(document, indent=1), layers_beside(path): json.dumps(layers)}
    for place, text in texts.items():
        with write_beside(place, force=True) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def layers_beside(path: Path) -> Path:
    """Where the layers of the engines in the result `path` lie."""
    return path.with_name(f"{path.stem}.layers.json")


def rows_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table of what `write_result` wrote; empty for another document."""
    trials = document.get("trials")
    if not isinstance(trials, list):
        return []
    return [
        {
            "trial": one["trial"],
            "nodes": None if one["operators"] is None else sum(one["operators"].values()),
            "CUDA graph ms": one["median_ms"],
            "least ms": one["min_ms"],
            "back to back ms": one["back_to_back_ms"],
            "layers": None if one["kinds"] is None else sum(n for n, _ in one["kinds"].values()),
            "dearest": _dearest(one["kinds"]),
            "tokens equal": one["equal_tokens"],
            "pictures, dB": one["psnr_db"],
            "built in s": one["build_s"],
            "why not": one["why"],
        }
        for one in trials
    ]


def _dearest(kinds: Mapping[str, Sequence[float]] | None) -> str:
    told = [f"{count} {kind} {ms:.3g} ms" for kind, (count, ms) in (kinds or {}).items()]
    return ", ".join(told[:DEAREST])
