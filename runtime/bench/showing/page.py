"""The document as one self-contained page: no network, no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from statistics import fmean

from vidtok_edge.runtime.bench.candidate_result import ClipQuality
from vidtok_edge.runtime.bench.document import Document
from vidtok_edge.runtime.bench.figures import Breakdown, Figures
from vidtok_edge.runtime.bench.pictures import Picture
from vidtok_edge.runtime.bench.sample import Sample
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
from vidtok_edge.runtime.bench.showing.tables import (
    Table,
    disturbance,
    not_metered,
    settings_rows,
    tables_of,
)
from vidtok_edge.runtime.files import write_beside

__all__ = ["page_of", "write_page"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser itself refuses scripts and the network, whatever a bundle is called."""
_OF_THE_PROCESS = "Of the process that measures, Python and the frames included."
_OF_THE_DEVICE = "Of everything that runs on the device."
_OF_WHAT_IS_METERED = "Of the module, or of package and GPU together; not of this process alone."
_NUMBER = re.compile(r"[-+]?[\d.]*%?")


def write_page(document: Document, path: Path, force: bool = False) -> None:
    """Write the page; raises OutputExists and OutputNotWritable as `write_beside` does."""
    text = page_of(document)
    with write_beside(path, force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page_of(document: Document) -> str:
    """The page as text: the same for the same document, wherever it is drawn."""
    series = [
        Series(one.name, kind_of(number), one) for number, one in enumerate(document.candidates)
    ]
    tables = {table.title: table for table in tables_of(document)}
    sections = [
        _head(document),
        _cards(document, series),
        _section("Candidates", [], [tables.pop("What was measured")]),
        _section(
            "Latency",
            [percentile_chart(series), histogram_chart(series, document.histogram)],
            [tables.pop("Latency of a latent")],
        ),
        _section("Over time", [timeline_chart(one) for one in series], []),
        _section(
            "Speed",
            [breakdown_chart(_breakdowns(series))],
            [
                tables.pop("Speed and backlog"),
                *(tables.pop(title) for title in list(tables) if title == "Cameras"),
                tables.pop("Where the time of a call goes"),
                *(tables.pop(title) for title in list(tables) if title.startswith("Against")),
                tables.pop("Start-up"),
            ],
        ),
        _section("The machine", _resource_charts(series), list(tables.values())),
        _section(
            "Quality",
            [_scatter(series)],
            _quality_tables(document),
            _quality_gaps(document),
        ),
        _pictures(document),
        _facts(document),
    ]
    title = f"vidtok-edge bench, {document.started_at:%Y-%m-%d %H:%M} UTC"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<link rel="icon" href="data:,">\n'  # else browsers ask for /favicon.ico
        f"<title>{escape(title)}</title>\n<style>\n{_fixed('page.css')}</style>\n"
        "</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _fixed(name: str) -> str:
    """A part of the page that is the same for every document, a file beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _head(document: Document) -> str:
    machine = document.machine
    warnings = [*document.troubles, *filter(None, [disturbance(document)])]
    kind = dict(settings_rows(document.settings))
    gpu = f", {escape(machine.gpu)}" if machine.gpu else ""
    return (
        f"<h1>How fast, how evenly</h1>\n<p>{escape(kind['work'].capitalize())}, "
        f"{escape(kind['kind'])}; {escape(kind['measured'])}.</p>\n"
        f'<p class="soft">{escape(machine.board or machine.cpu)}, {machine.cores} core(s){gpu}. '
        f"vidtok-edge bench, {document.started_at:%Y-%m-%d %H:%M} UTC.</p>"
        + "".join(f'\n<p class="warning">{escape(warning)}</p>' for warning in warnings)
    )


def _cards(document: Document, series: Sequence[Series]) -> str:
    cards = []
    for one in series:
        figures = one.result.figures
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
            f'<div class="soft">slowest {worst} ms{tail}</div>{_verdict(document, figures)}</div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _verdict(document: Document, figures: Figures) -> str:
    latency, pictures = figures.latency, figures.pictures
    if document.settings.pace.fps is None:
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


def _breakdowns(series: Sequence[Series]) -> list[tuple[str, Breakdown]]:
    rows = []
    for one in series:
        figures = one.result.figures
        for step, part in (("encoder", figures.encoder), ("decoder", figures.decoder)):
            if part is not None:
                rows.append((f"{one.name}, {step}", part))
    return rows


def _resource_charts(series: Sequence[Series]) -> list[Chart | None]:
    beside = "Work beside the benchmark makes latencies longer."
    rows: list[tuple[str, str, str, Callable[[Sample], float | None]]] = [
        ("Host memory", "resident memory, MB", _OF_THE_PROCESS, lambda s: s.rss_mb),
        ("Device memory", "memory in use, MB", _OF_THE_DEVICE, lambda s: s.device_mb),
        ("Power", "power, W", _OF_WHAT_IS_METERED, lambda s: s.power_w),
        ("CPU that everything else used", "cores", beside, lambda s: s.other_cores),
        ("CPU clock", "mean clock, MHz", "", lambda s: s.cpu_mhz),
        ("GPU clock", "clock, MHz", "", lambda s: s.gpu_mhz),
        ("Temperature", "hottest place, °C", "", lambda s: s.temperature_c),
    ]
    return [
        sample_chart(
            series, field, f"{name} over time", unit, f"{note} Rounds one after the other.".strip()
        )
        for name, unit, note, field in rows
    ]


def _scatter(series: Sequence[Series]) -> Chart | None:
    points = []
    for one in series:
        graphs = one.result.graphs[0].name.removeprefix("encoder.")
        decibels = [q.psnr_db for q in one.result.quality if q.graphs == graphs]
        if not one.result.graphs[0].sha256:  # PyTorch ran it: what was verified is another thing
            continue
        figures = one.result.figures
        parts = [part for part in (figures.encoder, figures.decoder) if part is not None]
        if decibels and parts:
            spent = sum(part.total_ms for part in parts)
            points.append((one.name, one.kind, spent, fmean(decibels)))
    return scatter_chart(points)


def _quality_tables(document: Document) -> list[Table]:
    tables = []
    for name, qualities in _qualities(document).items():
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
            for quality in qualities
        ]
        if len(rows) > 1:
            note = (
                "Of reconstructions against the source, from the report of the bundle's "
                "verification: not measured in this run."
            )
            tables.append(Table(f"Quality of {name}", note, tuple(rows)))
    return tables


def _quality_gaps(document: Document) -> list[str]:
    return [
        f"Nothing is known of the quality of {name}: `vidtok-edge export` and `verify` measure it "
        f"where a bundle has FP16 or INT8 graphs, and write it to its reports/parity.json."
        for name, qualities in _qualities(document).items()
        if not qualities
    ]


def _qualities(document: Document) -> dict[str, tuple[ClipQuality, ...]]:
    """By bundle."""
    return {one.bundle: one.quality for one in document.candidates}


def _pictures(document: Document) -> str:
    pictures = document.pictures
    if pictures is None:
        return ""
    if not pictures.shown:
        return f'<h2>Pictures</h2>\n<p class="note">No pictures: {escape(pictures.missing)}</p>'
    shown = [_picture(picture) for picture in pictures.shown]
    source = "the synthetic moving picture, which no tokenizer was trained on"
    if document.settings.clip is not None:
        source = Path(document.settings.clip).name
    note = f"One frame of {source}, and what each candidate makes of it; PSNR of that frame."
    return (
        f'<h2>Pictures</h2>\n<p class="note">{escape(note)}</p>\n'
        f'<div class="pictures">{"".join(shown)}</div>'
    )


def _picture(picture: Picture) -> str:
    decibels = "" if picture.psnr_db is None else f", {picture.psnr_db:.2f} dB"
    caption = escape(picture.name + decibels, quote=True)
    return (
        f'<figure><img src="data:image/png;base64,{picture.png}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _facts(document: Document) -> str:
    rows = [*settings_rows(document.settings), *document.machine.rows()]
    meters = sorted({name for one in document.candidates for t in one.turns for name in t.meters})
    rows.append(("meters", ", ".join(meters) or "none"))
    if (missing := not_metered(document)) is not None:
        rows.append(("missing", missing))
    cells = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows)
    return (
        '<h2>How it was measured</h2>\n<figure><div class="scroll"><table class="facts"><tbody>'
        f"{cells}</tbody></table></div></figure>\n<h2>Words</h2>\n{_fixed('words.html')}"
    )
