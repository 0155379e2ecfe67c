"""The plots of a benchmark: each from the measured values, as a figure for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from vidtok_edge.runtime.bench.candidate_result import CandidateResult
from vidtok_edge.runtime.bench.figures import Breakdown
from vidtok_edge.runtime.bench.latency import Curve, Histogram
from vidtok_edge.runtime.bench.sample import Sample
from vidtok_edge.runtime.bench.showing.svg import RIGHT, WIDTH, Axis, Plot

__all__ = [
    "Chart",
    "Series",
    "breakdown_chart",
    "histogram_chart",
    "kind_of",
    "percentile_chart",
    "sample_chart",
    "scatter_chart",
    "timeline_chart",
]

_COLOURS = 6
_MOST_DOTS = 6000


def kind_of(number: int) -> str:
    """The CSS classes of a candidate: a colour; from the seventh on dashed or hollow as well."""
    return f"s{number % _COLOURS}" + (" again" if number // _COLOURS % 2 else "")


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot with its title, and what to know to read it."""

    title: str
    svg: str
    caption: str
    legend: tuple[tuple[str, str], ...] = ()
    """(CSS class, name)."""


@dataclass(frozen=True, slots=True)
class Series:
    """What the charts need of one candidate."""

    name: str
    kind: str
    """As `kind_of`."""
    result: CandidateResult

    @property
    def deadline_ms(self) -> float:
        """Of a latent."""
        return self.result.figures.latency.deadline_ms


def _legend(series: Sequence[Series]) -> tuple[tuple[str, str], ...]:
    return tuple((one.kind, one.name) for one in series) if len(series) > 1 else ()


def _deadlines(series: Sequence[Series]) -> list[float]:
    return sorted({one.deadline_ms for one in series})


def _latency_axis(low: float, middle: float, high: float, deadlines: Sequence[float]) -> Axis:
    """Logarithmic where the slowest would press the others flat; up to the deadline where near."""
    high = max([high, *(d for d in deadlines if d < 3 * high)]) * 1.06
    if high > 20 * middle:
        return Axis("latency, ms, logarithmic", max(low, 1e-3) / 1.2, max(high, 1e-3) * 1.2, True)
    return Axis("latency, ms", 0, high)


def percentile_chart(series: Sequence[Series]) -> Chart | None:
    """Latency by percentile, the tail stretched: equal steps to the right are ten times as rare."""
    known = [(one, one.result.curve) for one in series if one.result.curve is not None]
    if not known:
        return None
    curves = [curve for _, curve in known]
    most = max(1 / (1 - curve.told) for curve in curves)
    shares = (0, 0.5, 0.9, 0.99, 0.999, 0.9999)
    ticks = [(1 / (1 - s), f"{100 * s:g} %") for s in shares if 1 / (1 - s) <= most * 1.01]
    plot = Plot(
        Axis("share of latents that were at least as fast", 1, most, True, tuple(ticks)),
        _latency_axis(
            min(curve.latency_ms[0] for curve in curves),
            median(_middle(curve) for curve in curves),
            max(curve.latency_ms[-1] for curve in curves),
            _deadlines(series),
        ),
        "Latency by percentile of each candidate",
    )
    for one, curve in known:
        points = zip(curve.shares, curve.latency_ms, strict=True)
        plot.line([(1 / (1 - share), value) for share, value in points], one.kind)
    _draw_deadlines(plot, series)
    return Chart(
        "Latency by percentile",
        plot.svg(),
        "The further right, the rarer: 99 % is where "
        "one in 100 is slower, 99.9 % one in 1000. A curve ends where its latents are too "
        "few to say more.",
        _legend([one for one, _ in known]),
    )


def _middle(curve: Curve) -> float:
    """The median, as near as the curve has it."""
    below = sum(share < 0.5 for share in curve.shares)
    return curve.latency_ms[min(below, len(curve.shares) - 1)]


def _draw_deadlines(plot: Plot, series: Sequence[Series]) -> None:
    for deadline in _deadlines(series):
        if plot.y.low < deadline < plot.y.high:
            plot.level(deadline, f"deadline {deadline:.4g} ms")


def histogram_chart(series: Sequence[Series], histogram: Histogram | None) -> Chart | None:
    """How often each latency occurred; `histogram` is of the same candidates."""
    if histogram is None:
        return None
    edges = histogram.edges_ms
    known = [(one, s) for one, s in zip(series, histogram.shares, strict=True) if s]
    title = "latency, ms" + (", logarithmic" if histogram.logarithmic else "")
    axis = Axis(title, edges[0], edges[-1], histogram.logarithmic)
    plot = Plot(
        axis,
        Axis("share of latents, %", 0, 108 * max(max(shares) for _, shares in known)),
        "Histogram of the latencies of each candidate",
    )
    for one, shares in known:
        steps = [(edges[0], 0.0)]
        for left, right, share in zip(edges, edges[1:], shares, strict=False):
            steps += [(left, 100 * share), (right, 100 * share)]
        plot.line([*steps, (edges[-1], 0.0)], one.kind)
    for deadline in _deadlines(series):
        if axis.low < deadline < axis.high:
            plot.upright(deadline, f"deadline {deadline:.4g} ms")
    return Chart(
        "Latency, how often",
        plot.svg(),
        f"Shares of {len(edges) - 1} equal intervals.",
        _legend([one for one, _ in known]),
    )


def timeline_chart(one: Series) -> Chart | None:
    """Every latent of one candidate by when it was ready; those past the deadline crossed."""
    points, starts, offset = [], [], 0.0
    for turn in one.result.turns:
        starts.append(offset)
        for ready, latency in zip(turn.ready_us, turn.latency_us, strict=True):
            points += [(offset + r / 1e6, v / 1e3) for r, v in zip(ready, latency, strict=True)]
        offset += turn.elapsed_us / 1e6
    if not points:
        return None
    values = [value for _, value in points]
    axis = _latency_axis(min(values), median(values), max(values), [one.deadline_ms])
    plot = Plot(Axis("measured time, s", 0, offset), axis, f"Latency over time of {one.name}", 220)
    for start in starts[1:]:
        plot.upright(start, kind="between")
    shown, note = _thinned(points, offset)
    plot.dots([p for p in shown if p[1] <= one.deadline_ms], one.kind)
    late = [p for p in points if p[1] > one.deadline_ms]
    plot.crosses(_thinned(late, offset)[0], "missed")
    _draw_deadlines(plot, [one])
    missed = f"{len(late)} of {len(points)} missed the deadline of {one.deadline_ms:.4g} ms"
    given_up = sum(turn.unfinished for turn in one.result.turns)
    if given_up:
        missed += f"; {given_up} frames were given up, and stand at the end of their round"
    rounds = "" if len(starts) == 1 else " Rounds one after the other, upright lines between them."
    return Chart(
        f"Latency over time: {one.name}",
        plot.svg(),
        f"{missed}.{rounds}{note}",
        (("missed cross", "missed the deadline"),) if late else (),
    )


def _thinned(
    points: list[tuple[float, float]], end: float
) -> tuple[list[tuple[float, float]], str]:
    """All of them, or of very many the highest and lowest of each short time."""
    if len(points) <= _MOST_DOTS:
        return points, ""
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        columns.setdefault(int(1000 * point[0] / end), []).append(point)
    ends = [edge(c, key=lambda p: p[1]) for c in columns.values() for edge in (min, max)]
    return ends, " Of so many, the highest and lowest of each thousandth of the time are drawn."


def breakdown_chart(rows: Sequence[tuple[str, Breakdown]]) -> Chart | None:
    """A bar for each step: upload, device, download, overhead."""
    if not rows:
        return None
    parts = ("upload_ms", "compute_ms", "download_ms", "overhead_ms")
    totals = [row.total_ms for _, row in rows]
    height, most = 26, max([*totals, 1e-9])
    wide = WIDTH - RIGHT
    drawn = []
    for number, ((name, row), total) in enumerate(zip(rows, totals, strict=True)):
        top, left = number * (height + 26) + 18, 0.0
        drawn.append(f'<text class="name" x="0" y="{top - 5}">{escape(name)}</text>')
        for index, part in enumerate(parts):
            took = getattr(row, part) or 0.0
            width = took / most * (wide - 70)
            if width > 0:
                hint = f"{LABELS[index]}: {took:.3f} ms"
                drawn.append(
                    f'<rect class="part p{index}" x="{left:.1f}" y="{top}" width="{width:.1f}" '
                    f'height="{height}"><title>{escape(hint)}</title></rect>'
                )
                left += width
        drawn.append(f'<text class="tick" x="{left + 8:.1f}" y="{top + 18}">{total:.2f} ms</text>')
    tall = len(rows) * (height + 26) + 4
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {tall}" role="img" aria-label="Where the time of a call '
        f'goes">{"".join(drawn)}</svg>'
    )
    legend = tuple((f"p{i}", label) for i, label in enumerate(LABELS))
    return Chart("Where the time of a call goes, ms", svg, "Medians over the calls.", legend)


LABELS = ("host to device", "device", "device to host", "runtime overhead")


def sample_chart(
    series: Sequence[Series],
    field: Callable[[Sample], float | None],
    title: str,
    unit: str,
    caption: str,
) -> Chart | None:
    """One reading over time; None where nobody read it."""
    lines: list[tuple[Series, list[list[tuple[float, float]]]]] = []
    for one in series:
        turns, offset = [], 0.0
        for turn in one.result.turns:
            found = [(offset + s.time_s, v) for s in turn.samples if (v := field(s)) is not None]
            turns += [found] if found else []
            offset += turn.elapsed_us / 1e6
        if turns:
            lines.append((one, turns))
    if not lines:
        return None
    points = [point for _, turns in lines for found in turns for point in found]
    end, high = max(x for x, _ in points), max(y for _, y in points)
    plot = Plot(Axis("measured time, s", 0, max(end, 0.1)), Axis(unit, 0, 1.1 * high), title, 220)
    for one, turns in lines:
        for found in turns:
            plot.line(found, one.kind)
            plot.dots(found, one.kind)
    return Chart(title, plot.svg(), caption, _legend([one for one, _ in lines]))


def scatter_chart(points: Sequence[tuple[str, str, float, float]]) -> Chart | None:
    """Quality against speed: (name, kind, ms per call, dB)."""
    if not points:
        return None
    times, decibels = [p[2] for p in points], [p[3] for p in points]
    middle = median(decibels)
    around = max(0.25, 1.3 * max(abs(d - middle) for d in decibels))
    plot = Plot(
        Axis("time of a call, ms (less is better)", 0, 1.15 * max(times)),
        Axis("PSNR, dB (more is better)", middle - around, middle + around),
        "Quality against speed",
    )
    for name, kind, ms, db in points:
        plot.mark(ms, db, kind, f"{name}: {ms:.2f} ms, {db:.2f} dB")
    return Chart(
        "Quality against speed",
        plot.svg(),
        "PSNR of the reconstruction against the "
        "source, mean of the clips that the bundle was verified on; the axis does not "
        "begin at 0. Time: median of the encoder's calls, and the decoder's where it "
        "ran.",
        tuple((kind, name) for name, kind, _, _ in points),
    )
