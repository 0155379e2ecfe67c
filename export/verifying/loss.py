"""What a precision costs, as figures, and the limits they are held to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vidtok_edge.errors import UsageError
from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.runtime.manifest.graphs import Precision

__all__ = ["DEFAULT_LIMITS", "FLIP_EDGES", "Limits", "Loss", "compare_loss", "limits_with"]

FLIP_EDGES = (0.0, 0.01, 0.03, 0.1, 0.5)
"""In levels; a token lies at most half a level from a boundary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a precision may cost; None: reported, never failed.

    Attributes:
        tokens_equal: least share of tokens that equal those of float32.
        tokens_differ: as many tokens may differ in a clip whatever their share is: one of the few
            tokens of a small grid is more than a per cent of them.
        psnr_db: least PSNR of a reconstruction against that of float32.
        loss_db: most PSNR that a reconstruction loses against the source.
        drift_db: most dB that the last third of a stream is further from float32 than its first.
    """

    tokens_equal: float | None = None
    tokens_differ: int = 0
    psnr_db: float | None = None
    loss_db: float | None = None
    drift_db: float | None = 3.0


DEFAULT_LIMITS: Mapping[Precision, Limits] = {
    "fp16": Limits(tokens_equal=0.99, tokens_differ=4, psnr_db=40.0),
    "int8": Limits(loss_db=0.5),
}
"""From the design, "Numbers that must hold"."""


def limits_with(
    tokens_equal: float | None, psnr_db: float | None, loss_db: float | None
) -> dict[Precision, Limits]:
    """The default limits, but for those that are given; a share of tokens is then held exactly.

    Raises UsageError: no share, or not finite; a bundle would be marked unverified for it.
    """
    given = {"tokens_equal": tokens_equal, "psnr_db": psnr_db, "loss_db": loss_db}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if tokens_equal is not None and not 0 <= tokens_equal <= 1:
        raise UsageError(
            f"The least share of equal tokens is {tokens_equal:g}; allowed: 0 to 1. For 90 % write "
            "0.9."
        )
    for value in changes.values():
        if not math.isfinite(value):
            raise UsageError(f"A limit is {value:g} dB; allowed: a number.")
    if tokens_equal is not None:
        changes["tokens_differ"] = 0
    return {precision: replace(limits, **changes) for precision, limits in DEFAULT_LIMITS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one pair of graphs makes of one clip, against float32 and against the source."""

    graphs: str
    """`fp16`, `int8`, `int8-tensorrt`; `fp32` for float32 itself."""
    clip: str
    tokens: int | None
    """How many there are; None for KL."""
    tokens_equal: float | None
    """Share of all tokens; None for KL."""
    off_by_one: float | None
    """Share of all tokens that are one level off in one dimension."""
    flips: tuple[int, ...]
    """Of the tokens that differ, how many lay how far from a boundary: `FLIP_EDGES`."""
    psnr_db: float
    """Of the reconstruction against float32's."""
    source_psnr_db: float
    """Of the reconstruction against the source."""
    source_ssim: float
    loss_db: float
    """Of PSNR against the source, to float32's."""
    ssim_loss: float
    drift_db: float | None
    """How much further from float32 the last third is than the first; of the latents' values, in a
    stream of nine or more."""


def compare_loss(loss: Loss, limits: Limits) -> Iterator[Comparison]:
    """The comparisons of one clip for the report."""
    what = f"{loss.graphs}, {loss.clip}"
    if loss.tokens and loss.tokens_equal is not None and loss.off_by_one is not None:
        note = f"{loss.off_by_one:.2%} off by one level; {_flips(loss.flips)}"
        yield Comparison(
            name=what,
            metric="share of equal tokens",
            value=loss.tokens_equal,
            limit=_share_of(loss.tokens, limits),
            note=note,
            at_least=True,
        )
    yield Comparison(
        name=what,
        metric="PSNR against fp32, dB",
        value=loss.psnr_db,
        limit=limits.psnr_db,
        note="",
        at_least=True,
    )
    note = f"{loss.source_psnr_db:.2f} dB, SSIM {loss.source_ssim:.3f} ({-loss.ssim_loss:+.3f})"
    yield Comparison(
        name=what,
        metric="PSNR lost against the source, dB",
        value=loss.loss_db,
        limit=limits.loss_db,
        note=note,
    )
    if loss.drift_db is not None:
        yield Comparison(
            name=what,
            metric="drift, last third to first, dB",
            value=loss.drift_db,
            limit=limits.drift_db,
        )


def _share_of(tokens: int, limits: Limits) -> float | None:
    """The least share of so many tokens that must be equal."""
    if limits.tokens_equal is None:
        return None
    return min(limits.tokens_equal, max(0.0, 1 - limits.tokens_differ / tokens))


def _flips(flips: tuple[int, ...]) -> str:
    """Where the tokens that differ lay, as shares: `<0.01 of a level from a boundary 60%`."""
    total = sum(flips)
    if not total:
        return "none differs"
    shares = (
        f"<{edge:g} {count / total:.0%}" for edge, count in zip(FLIP_EDGES[1:], flips, strict=True)
    )
    return f"those that differ, levels from a boundary: {', '.join(shares)}"
