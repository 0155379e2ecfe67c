"""The benchmark as one self-contained page: no network, no script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.runtime.bench.measuring.candidate import OPEN_BUNDLE
from vidtok_edge.runtime.bench.measuring.figures import Breakdown, Figures
from vidtok_edge.runtime.bench.measuring.matrix import Benchmark
from vidtok_edge.runtime.bench.showing.charts import (
    Chart,
    Series,
    breakdown_chart,
    histogram_chart,
    kind_of,
    percentile_chart,
    sample_chart,
    scatter_chart,
    timeline_chart,
)
from vidtok_edge.runtime.bench.showing.reconstructions import png_of, reconstructions_of
from vidtok_edge.runtime.bench.showing.reports import PARITY_REPORT, mean_psnr_db, qualities_of
from vidtok_edge.runtime.bench.showing.style import STYLE
from vidtok_edge.runtime.bench.showing.tables import Table, disturbance, settings_rows, tables_of
from vidtok_edge.runtime.files import write_beside

__all__ = ["page_of", "write_page"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser itself refuses scripts and the network, whatever a bundle is called."""
_NUMBER = re.compile(r"[-+]?[\d.]*%?")

DEFINITIONS = (
    (
        "latency",
        "from when a latent's last frame was released by the camera (saturated: handed over) to "
        "its tokens in host memory. A paced camera keeps its schedule whatever the encoder does, "
        "so a frame that waits behind a slow call has waited from when it was due.",
    ),
    (
        "percentile",
        "nearest rank: a latency that occurred. Shown only from so many latents on that "
        "the slowest of them is above the true percentile with 95 % confidence.",
    ),
    (
        "jitter",
        "mean absolute difference between the latencies of consecutive latents of one stream.",
    ),
    (
        "deadline",
        "unless set, the period in which the camera fills a chunk: who is later for long "
        "falls behind. Longest run: consecutive misses of one stream.",
    ),
    (
        "real-time factor",
        "seconds of each stream's video per second that the encoder (and decoder) was busy.",
    ),
    ("runtime overhead", "time inside `push` and not in the step: copying frames in, tokens out."),
    ("spread", "least and most of the rounds. Each round compares turns that were neighbours."),
    (
        "verdict",
        "of an exact two-sided sign test: how many rounds were faster, not by how much, so that "
        "one disturbed round hides nothing. Faster or slower is said where luck alone would say it "
        "of any comparison of this run once in 20 runs at most; inside the noise: it may be luck.",
    ),
)


def write_page(benchmark: Benchmark, path: Path, force: bool = False) -> None:
    """Write the page; raises OutputExists and OutputNotWritable as `write_beside` does."""
    text = page_of(benchmark)
    with write_beside(path, force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page_of(benchmark: Benchmark) -> str:
    """The page as text. The reconstructions are made now, in this process."""
    series = [
        Series(
            str(entry.candidate),
            kind_of(number),
            entry,
            Figures.of(entry, benchmark.settings).latency.deadline_ms,
        )
        for number, entry in enumerate(benchmark.entries)
    ]
    tables = {table.title: table for table in tables_of(benchmark)}
    sections = [
        _head(benchmark),
        _cards(benchmark, series),
        _section("Candidates", [], [tables.pop("What was measured")]),
        _section(
            "Latency",
            [percentile_chart(series), histogram_chart(series)],
            [tables.pop("Latency of a latent")],
        ),
        _section("Over time", [timeline_chart(one) for one in series], []),
        _section(
            "Speed",
            [breakdown_chart(_breakdowns(benchmark, series))],
            [
                tables.pop("Speed and backlog"),
                tables.pop("Where the time of a call goes"),
                *(tables.pop(title) for title in list(tables) if title.startswith("Against")),
                tables.pop("Start-up"),
            ],
        ),
        _section("The machine", _resource_charts(series), list(tables.values())),
        _section(
            "Quality",
            [_scatter(benchmark, series)],
            _quality_tables(benchmark),
            _quality_gaps(benchmark),
        ),
        _pictures(benchmark),
        _facts(benchmark),
    ]
    started = datetime.fromtimestamp(benchmark.started, timezone.utc)
    title = f"vidtok-edge bench, {started:%Y-%m-%d %H:%M} UTC"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<link rel="icon" href="data:,">\n'  # else browsers ask for /favicon.ico
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(benchmark: Benchmark) -> str:
    started = datetime.fromtimestamp(benchmark.started, timezone.utc)
    machine = benchmark.machine
    warnings = [*benchmark.troubles, *filter(None, [disturbance(benchmark)])]
    kind = dict(settings_rows(benchmark.settings))
    gpu = f", {escape(machine.gpu)}" if machine.gpu else ""
    return (
        f"<h1>How fast, how evenly</h1>\n<p>{escape(kind['work'].capitalize())}, "
        f"{escape(kind['kind'])}; {escape(kind['measured'])}.</p>\n"
        f'<p class="soft">{escape(machine.board or machine.cpu)}, {machine.cores} core(s){gpu}. '
        f"vidtok-edge bench, {started:%Y-%m-%d %H:%M} UTC.</p>"
        + "".join(f'\n<p class="warning">{escape(warning)}</p>' for warning in warnings)
    )


def _cards(benchmark: Benchmark, series: Sequence[Series]) -> str:
    cards = []
    for one in series:
        figures = Figures.of(one.entry, benchmark.settings)
        latency = figures.latency
        p50 = "-" if latency.p50_ms is None else f"{latency.p50_ms:.1f}"
        worst = "-" if latency.max_ms is None else f"{latency.max_ms:.1f}"
        high, name = latency.p99_ms, "p99"
        if high is None:
            high, name = latency.p90_ms, "p90"
        tail = "" if high is None else f", {name} {high:.1f} ms"
        cards.append(
            f'<div class="card {one.kind}"><h3>{escape(one.name)}</h3>'
            f'<div class="big">{p50} <small>ms, median of {latency.n}</small></div>'
            f'<div class="soft">slowest {worst} ms{tail}</div>{_verdict(benchmark, figures)}</div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _verdict(benchmark: Benchmark, figures: Figures) -> str:
    latency, pictures = figures.latency, figures.pictures
    if benchmark.settings.pace.fps is None:
        return f'<div class="soft">{figures.frames_per_s:.1f} frames/s, all streams</div>'
    if figures.keeps_up:
        return '<div class="good">✓ every deadline met, no frame lost</div>'
    troubles = [
        f"{latency.misses} of {latency.n} deadlines missed" if latency.misses else "",
        f"{pictures.misses} of {pictures.n} decoded frames late"
        if pictures is not None and pictures.misses
        else "",
        f"{figures.dropped} frames dropped" if figures.dropped else "",
        f"{figures.unfinished} frames given up" if figures.unfinished else "",
        "" if latency.n and (pictures is None or pictures.n) else "nothing came out",
    ]
    return f'<div class="bad">✗ {escape(", ".join(filter(None, troubles)))}</div>'


def _section(
    title: str,
    charts: Sequence[Chart | None],
    tables: Sequence[Table],
    notes: Sequence[str] = (),
) -> str:
    parts = [_figure(chart) for chart in charts if chart is not None]
    parts += [_table(table) for table in tables]
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
    return f"<h2>{escape(title)}</h2>\n" + "\n".join(parts) if parts else ""


def _figure(chart: Chart) -> str:
    square = ' class="square"' if chart.legend and chart.legend[0][0].startswith("p") else ""
    legend = "".join(
        f'<li{square or _cross(kind)}><i class="{kind}"></i><span>{escape(name)}</span></li>'
        for kind, name in chart.legend
    )
    return (
        f"<figure><h3>{escape(chart.title)}</h3>"
        + (f'<ul class="legend">{legend}</ul>' if legend else "")
        + f'<div class="scroll">{chart.svg}</div>'
        f"<figcaption>{escape(chart.caption)}</figcaption></figure>"
    )


def _cross(kind: str) -> str:
    return ' class="cross"' if "cross" in kind else ""


def _table(table: Table) -> str:
    kinds = [
        "" if all(_NUMBER.fullmatch(cell) for cell in column[1:]) else ' class="text"'
        for column in zip(*table.rows, strict=True)
    ]

    def row(tag: str, cells: Sequence[str]) -> str:
        inner = (f"<{tag}{k}>{escape(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    return (
        f'<figure><h3>{escape(table.title)}</h3><div class="scroll"><table>'
        f"<thead>{row('th', table.rows[0])}</thead>"
        f"<tbody>{''.join(row('td', cells) for cells in table.rows[1:])}</tbody></table></div>"
        f"<figcaption>{escape(table.note)}</figcaption></figure>"
    )


def _breakdowns(benchmark: Benchmark, series: Sequence[Series]) -> list[tuple[str, Breakdown]]:
    rows = []
    for one in series:
        figures = Figures.of(one.entry, benchmark.settings)
        for step, part in (("encoder", figures.encoder), ("decoder", figures.decoder)):
            if part is not None:
                rows.append((f"{one.name}, {step}", part))
    return rows


def _resource_charts(series: Sequence[Series]) -> list[Chart | None]:
    note = "Rounds one after the other."
    return [
        sample_chart(
            series,
            lambda s: s.rss_mb,
            "Host memory over time",
            "resident memory, MB",
            f"Of the process that measures, Python and the frames included. {note}",
        ),
        sample_chart(
            series,
            lambda s: s.device_mb,
            "Device memory over time",
            "memory in use, MB",
            f"Of everything that runs on the device. {note}",
        ),
        sample_chart(
            series,
            lambda s: s.power_w,
            "Power over time",
            "power, W",
            f"Of the module, or of package and GPU together; not of this process alone. {note}",
        ),
        sample_chart(
            series,
            lambda s: s.other_cores,
            "CPU that everything else used",
            "cores",
            f"Work beside the benchmark makes latencies longer. {note}",
        ),
        sample_chart(series, lambda s: s.cpu_mhz, "CPU clock over time", "mean clock, MHz", note),
        sample_chart(series, lambda s: s.gpu_mhz, "GPU clock over time", "clock, MHz", note),
        sample_chart(
            series, lambda s: s.temperature_c, "Temperature over time", "hottest place, °C", note
        ),
    ]


def _scatter(benchmark: Benchmark, series: Sequence[Series]) -> Chart | None:
    points = []
    for one in series:
        graphs = one.entry.turns[0].graphs[0].name.removeprefix("encoder.")
        decibels = mean_psnr_db(qualities_of(Path(one.entry.candidate.bundle)), graphs)
        figures = Figures.of(one.entry, benchmark.settings)
        parts = [part for part in (figures.encoder, figures.decoder) if part is not None]
        if decibels is not None and parts:
            spent = sum(part.total_ms for part in parts)
            points.append((one.name, one.kind, spent, decibels))
    return scatter_chart(points)


def _quality_tables(benchmark: Benchmark) -> list[Table]:
    tables = []
    for name, bundle in _bundles(benchmark).items():
        rows = [("graphs", "clip", "tokens equal to fp32", "PSNR dB", "lost to fp32, dB", "SSIM")]
        rows += [
            (
                quality.graphs,
                quality.clip,
                "-" if quality.tokens_equal is None else f"{quality.tokens_equal:.1%}",
                f"{quality.psnr_db:.2f}",
                f"{quality.loss_db:+.2f}",
                f"{quality.ssim:.4f}",
            )
            for quality in qualities_of(bundle)
        ]
        if len(rows) > 1:
            note = (
                "Of reconstructions against the source, from the report of the bundle's "
                "verification: not measured in this run."
            )
            tables.append(Table(f"Quality of {name}", note, tuple(rows)))
    return tables


def _quality_gaps(benchmark: Benchmark) -> list[str]:
    return [
        f"Nothing is known of the quality of {name}: `vidtok-edge export` and `verify` measure it "
        f"where a bundle has FP16 or INT8 graphs, and write it to its {PARITY_REPORT}."
        for name, bundle in _bundles(benchmark).items()
        if not qualities_of(bundle)
    ]


def _bundles(benchmark: Benchmark) -> dict[str, Path]:
    return {e.candidate.bundle_name: Path(e.candidate.bundle) for e in benchmark.entries}


def _pictures(benchmark: Benchmark) -> str:
    candidates = [entry.candidate for entry in benchmark.entries]
    if not any(candidate.opener == OPEN_BUNDLE for candidate in candidates):
        return ""
    try:
        found = reconstructions_of(candidates, benchmark.settings.clip)
        shown = []
        before = None
        for one in found:
            original = one.original.tobytes()
            if original != before:
                shown.append(_picture(png_of(one.original), "original"))
            before = original
            shown.append(_picture(png_of(one.decoded), f"{one.name}, {one.psnr_db:.2f} dB"))
    except VidTokEdgeError as error:  # the figures are worth a page without pictures
        return f'<h2>Pictures</h2>\n<p class="note">No pictures: {escape(str(error))}</p>'
    source = "the synthetic moving picture, which no tokenizer was trained on"
    if benchmark.settings.clip is not None:
        source = Path(benchmark.settings.clip).name
    note = f"One frame of {source}, and what each candidate makes of it; PSNR of that frame."
    return (
        f'<h2>Pictures</h2>\n<p class="note">{escape(note)}</p>\n'
        f'<div class="pictures">{"".join(shown)}</div>'
    )


def _picture(address: str, caption: str) -> str:
    return (
        f'<figure><img src="{address}" alt="{escape(caption, quote=True)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _facts(benchmark: Benchmark) -> str:
    rows = [*settings_rows(benchmark.settings), *benchmark.machine.rows()]
    meters = sorted({name for e in benchmark.entries for t in e.turns for name in t.meters})
    rows.append(("meters", ", ".join(meters) or "none"))
    cells = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows)
    words = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in DEFINITIONS)
    return (
        '<h2>How it was measured</h2>\n<figure><div class="scroll"><table class="facts"><tbody>'
        f"{cells}</tbody></table></div></figure>\n<h2>Words</h2>\n<dl>{words}</dl>"
    )
