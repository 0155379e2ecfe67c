"""The page: opened in a real browser, its tables read, its console listened to."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.errors import OutputExists
from vidtok_edge.runtime.bench.document import Document
from vidtok_edge.runtime.bench.document_file import read_document, write_document
from vidtok_edge.runtime.bench.latency import Curve
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.documents import document_of
from vidtok_edge.runtime.bench.measuring.matrix import Benchmark, run_matrix
from vidtok_edge.runtime.bench.measuring.turn import Turn, run_turn
from vidtok_edge.runtime.bench.sample import Sample
from vidtok_edge.runtime.bench.settings import Pace, Settings
from vidtok_edge.runtime.bench.showing.charts import (
    Series,
    kind_of,
    percentile_chart,
    scatter_chart,
)
from vidtok_edge.runtime.bench.showing.page import page_of, write_page
from vidtok_edge.runtime.bench.showing.tables import disturbance, tables_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--enable-logging=stderr",
    "--v=0",
]
NASTY = "b <img src=x onerror=alert(1)> & \"c'"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def measured(tiny_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Two candidates, the second of which is slow, and named by somebody malicious."""
    folder = tmp_path_factory.mktemp("named") / NASTY
    shutil.copytree(tiny_original, folder)
    (folder / "reports").mkdir()
    (folder / "reports/parity.json").write_text(
        '{"losses": [{"graphs": "fp32", "clip": "robot", "tokens_equal": 1.0, '
        '"source_psnr_db": 24.25, "source_ssim": 0.75, "loss_db": 0.0}]}'
    )

    def run(candidate: Candidate, settings: Settings, progress: Any) -> Turn:
        turn = run_turn(candidate, settings, 0)
        for latencies in turn.measured.latency_ns:  # whatever this machine is busy with
            latencies[:] = [1_000_000 + 1000 * i for i in range(len(latencies))]
        turn.measured.picture_latency_ns = [[20_000_000] * 120] * 2
        if candidate.threads == 2 and settings.rounds == 2:
            turn.measured.latency_ns[0][3] = 50_000_000
        turn.samples = [Sample(time_s=0.01 * i, rss_mb=100.0, gpu_w=5.0) for i in range(12)]
        return turn

    settings = Settings(Pace(200.0), seconds=0.6, warmup_s=0.0, rounds=2, decode=True)
    candidates = [Candidate(str(folder), "cpu", "fp32", threads) for threads in (1, 2)]
    return run_matrix(candidates, settings, run=run)


@pytest.fixture(scope="module")
def done(measured: Benchmark) -> Document:
    return document_of(measured, pictures=True)


class Reader(HTMLParser):
    """The cells of a page's tables, its titles, pictures and captions, as the browser left them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.titles: list[str] = []
        self.images: list[str] = []
        self.svgs: list[str] = []
        self.tags: set[str] = set()
        self._into: list[str] | None = None

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attributes)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._into = self.tables[-1][-1]
            self._into.append("")
        elif tag in ("h1", "h2", "h3"):
            self._into = self.titles
            self._into.append("")
        elif tag == "img":
            self.images.append(found["src"] or "")
        elif tag == "svg":
            self.svgs.append(found["aria-label"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h1", "h2", "h3"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


@dataclass(frozen=True)
class Opened:
    """What a browser made of a page."""

    dom: str
    console: list[str]

    def read(self) -> Reader:
        reader = Reader()
        reader.feed(self.dom)
        return reader


def opened(page: Path, profile: Path, *flags: str) -> Opened:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags]
    command += ["--dump-dom", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = re.findall(r":CONSOLE.*", result.stderr)
    return Opened(result.stdout, console)


@needs_chromium
def test_a_browser_shows_every_table_and_says_nothing(done: Document, tmp_path: Path) -> None:
    write_page(done, tmp_path / "bench.html")
    page = opened(tmp_path / "bench.html", tmp_path / "profile")
    assert page.console == []
    reader = page.read()
    shown = {tuple(map(tuple, table)) for table in reader.tables}
    for table in tables_of(done):
        assert table.rows in shown and table.title in reader.titles
    assert {
        "Candidates",
        "Latency",
        "Over time",
        "Speed",
        "The machine",
        "Quality",
        "Pictures",
    } <= set(reader.titles)
    name = f"{NASTY} cpu fp32 2 thread(s)"
    assert f"Latency over time: {name}" in reader.titles, "as text, not as an element"
    assert "script" not in reader.tags
    assert len(reader.images) == 3 and all(i.startswith("data:image/png") for i in reader.images)
    # Percentiles, histogram, two time lines, breakdown, memory, power, quality.
    assert len(reader.svgs) == 8
    # The two latents that were made late are crosses in one path of one time line.
    assert page.dom.count('class="crosses missed"') == 1
    quality = next(t for t in reader.tables if t[0][0] == "graphs")
    assert quality[1] == ["fp32", "robot", "100.0%", "24.25", "+0.00", "0.7500"]


@needs_chromium
@pytest.mark.parametrize("trouble", ["<script>console.error('x')</script>", "<img src='gone.png'>"])
def test_the_console_is_heard(done: Document, tmp_path: Path, trouble: str) -> None:
    """The test above would else pass on anything. The page's own policy refuses both."""
    text = page_of(done).replace("</main>", trouble + "</main>")
    (tmp_path / "bad.html").write_text(text, encoding="utf-8")
    page = opened(tmp_path / "bad.html", tmp_path / "profile")
    assert any("Content Security Policy" in line for line in page.console)


def test_a_page_is_self_contained(done: Document) -> None:
    text = page_of(done)
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert NASTY not in text, "escaped wherever it stands"
    assert re.search(r"2 of \d+ deadlines missed", text) and "every deadline met" in text


def test_a_busy_machine_is_warned_of(done: Document) -> None:
    """Else the work of others would be taken for the tokenizer's."""
    assert disturbance(done) is None and 'class="warning"' not in page_of(done)
    first = done.candidates[0]
    figures = replace(first.figures, other_cores=0.4, stolen_cores=0.1)
    busy = replace(done, candidates=(replace(first, figures=figures),), histogram=None)
    assert "busy with other work meanwhile (0.50 cores" in (disturbance(busy) or "")
    assert 'class="warning"' in page_of(busy)


def test_a_saturated_run_that_measured_next_to_nothing(measured: Benchmark) -> None:
    """No percentiles, no samples, no reports: the page says less, and is still one."""
    entry = measured.entries[0]
    turn = replace(entry.turns[0], samples=[], meters=[])
    turn.measured = replace(
        turn.measured, latency_ns=[[], []], ready_ns=[[], []], picture_latency_ns=[[], []]
    )
    settings = Settings(Pace(None), seconds=0.1)
    bare = replace(measured, settings=settings, entries=[replace(entry, turns=[turn])])
    text = page_of(document_of(bare))
    assert "Latency by percentile" not in text and "Host memory over time" not in text
    assert "Latency of a latent" in text


def test_a_bundle_whose_quality_nobody_measured_says_so(done: Document) -> None:
    assert "Nothing is known of the quality" not in page_of(done)
    bare = replace(done.candidates[0], quality=(), bundle="bundle")
    text = page_of(replace(done, candidates=(bare,), histogram=None))
    assert "Nothing is known of the quality of bundle" in text and "reports/parity.json" in text


def test_the_quality_of_a_graph_is_not_said_of_pytorch(done: Document) -> None:
    """The verification was of the file, which it does not run."""
    title = "Quality against speed"
    assert title in page_of(done)
    graph = replace(done.candidates[0].graphs[0], sha256="")
    torch = replace(done.candidates[0], graphs=(graph,))
    assert title not in page_of(replace(done, candidates=(torch,), histogram=None))


def test_candidates_of_one_quality_are_told_apart() -> None:
    """By a legend: names beside dots of the same height lay on each other."""
    chart = scatter_chart([(f"candidate {n}", kind_of(n), 10.0 + n, 24.0) for n in range(12)])
    assert chart is not None and '<text class="name"' not in chart.svg
    kinds, names = zip(*chart.legend, strict=True)
    assert len(set(kinds)) == 12 and names[11] == "candidate 11"
    assert re.findall(r'class="mark ([^"]*)"', chart.svg) == list(kinds)


def test_a_curve_ends_where_it_can_tell_no_more(done: Document) -> None:
    """Of 24 latents the table shows no p90: neither may the axis."""
    curve = Curve(
        told=0.88,
        shares=tuple(n / 24 for n in range(21)),
        latency_ms=tuple(float(n) for n in range(21)),
    )
    chart = percentile_chart([Series("a", "s0", replace(done.candidates[0], curve=curve))])
    assert chart is not None
    ticks = re.findall(r">([\d.]+ %)</text>", chart.svg)
    assert ticks == ["0 %", "50 %"]
    [places] = re.findall(r'class="line s0" points="([^"]*)"', chart.svg)
    assert len(places.split()) == 21


def test_a_page_that_is_there_is_not_replaced(done: Document, tmp_path: Path) -> None:
    (tmp_path / "bench.html").write_text("mine")
    with pytest.raises(OutputExists):
        write_page(done, tmp_path / "bench.html")
    assert (tmp_path / "bench.html").read_text() == "mine"


def test_the_same_page_is_drawn_from_the_file(done: Document, tmp_path: Path) -> None:
    write_document(done, tmp_path / "bench.json")
    assert page_of(read_document(tmp_path / "bench.json")) == page_of(done)


def test_what_a_missing_meter_takes_is_said(done: Document) -> None:
    assert "Not metered" not in page_of(done)
    first = done.candidates[0]
    turn = replace(first.turns[0], meters_missing=("clocks: they need a library",))
    bare = replace(done, candidates=(replace(first, turns=(turn,)),), histogram=None)
    assert "Not metered: clocks: they need a library." in page_of(bare)
