"""The picture of a calibration: quality against the share of work in INT8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vidtok_edge.calib.budget import Budget, MixPoint
from vidtok_edge.calib.ranges import make_folder
from vidtok_edge.runtime.files import write_beside

__all__ = ["PICTURE", "plot_mixes"]

PICTURE = "reports/int8_mix.png"
"""Where the file lies inside a bundle."""

_LOSS, _TOKENS, _LIMIT = "#1f5fa8", "#b3541e", "#666666"


def plot_mixes(
    bundle: Path,
    title: str,
    points: Sequence[MixPoint],
    chosen: MixPoint,
    budget: Budget,
) -> Path:
    """Write the picture into the folder `bundle`; returns its path.

    Args:
        bundle: a bundle's folder.
        title: of the picture.
        points: mixes that were measured, at least one.
        chosen: the one that the bundle's graphs have.
        budget: drawn as dashed lines.

    Raises:
        OutputNotWritable.
    """
    have_tokens = chosen.tokens_equal is not None
    figure = Figure(figsize=(7.5, 6.5 if have_tokens else 4.0), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)  # not pyplot: no window, no state that a caller shares
    rows = figure.subplots(2 if have_tokens else 1, 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title)
    shares = [100 * point.work_int8_share for point in points]
    losses = [point.loss_db for point in points]
    _draw(rows[0], shares, losses, _LOSS, budget.loss_db)
    _mark(rows[0], chosen, chosen.loss_db)
    rows[0].set_ylabel("PSNR lost against the source, dB")
    if chosen.tokens_equal is not None:
        tokens = [100 * (point.tokens_equal or 0.0) for point in points]
        limit = None if budget.tokens_equal is None else 100 * budget.tokens_equal
        _draw(rows[1], shares, tokens, _TOKENS, limit)
        _mark(rows[1], chosen, 100 * chosen.tokens_equal)
        rows[1].set_ylabel("tokens equal to those of fp32, %")
    rows[-1].set_xlabel("multiply-adds of all convolutions in INT8, %")
    rows[-1].set_xlim(-3, 103)
    path = make_folder(bundle / PICTURE)
    with write_beside(path, force=True) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _draw(
    axes: Axes, shares: list[float], values: list[float], colour: str, limit: float | None
) -> None:
    axes.plot(shares, values, "o-", color=colour, linewidth=1, markersize=5, label="measured mixes")
    if limit is not None:
        axes.axhline(limit, color=_LIMIT, linestyle="--", linewidth=1, label=f"budget, {limit:g}")
    axes.grid(alpha=0.3)


def _mark(axes: Axes, chosen: MixPoint, value: float) -> None:
    x = 100 * chosen.work_int8_share
    axes.plot([x], [value], "D", color="black", markersize=9, fillstyle="none", label="this bundle")
    axes.annotate(
        f"{x:.1f} %: {value:.3g}",
        (x, value),
        textcoords="offset points",
        xytext=(-8, 10),
        ha="right",
    )
    axes.legend(loc="best", fontsize="small")
