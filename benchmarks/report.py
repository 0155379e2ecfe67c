"""What was measured, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from paired import CLOCKS, WARM_UP, Row, Spread, Table
from results import Results
from streams import Flat, Overhead
from targets import Target


def json_of(results: Results, targets: Sequence[Target]) -> str:
    document = {**asdict(results), "targets": [asdict(target) for target in targets]}
    return json.dumps(document, indent=1) + "\n"


def report_of(results: Results, targets: Sequence[Target]) -> str:
    parts = [
        ", ".join(f"{name} {value}" for name, value in results.machine.items()),
        f"Threads, and how idle ones wait: every library's own default. {results.runs} rounds "
        f"after {WARM_UP} of warm-up. Ratios are per round, median (min..max); above 1 is faster.",
    ]
    parts += [table_text(table) for table in results.tables]
    if results.overhead:
        parts.append(overhead_text(results.overhead))
    if results.imports:
        loaded = "also loads" if results.imports.onnxruntime_loaded else "does not load"
        parts.append(f"`import vidtok_edge.runtime` {loaded} onnxruntime.")
    if results.memory:
        memory = results.memory
        parts.append(
            f"Memory in MB, loaded: runtime {whole(memory.runtime_loaded)}, "
            f"PyTorch {whole(memory.torch_loaded)}; at peak: runtime "
            f"{whole(memory.runtime_peak)}, PyTorch {whole(memory.torch_peak)}."
        )
    if results.flat:
        parts.append(flat_text(results.flat))
    parts += results.notes
    if targets:
        parts.append(targets_text(targets))
    return "\n\n".join(parts)


def whole(spread: Spread) -> str:
    return f"{spread.median:.0f} ({spread.low:.0f}..{spread.high:.0f})"


def table_text(table: Table) -> str:
    header = ["", "CPU ms", "wall ms"]
    header += [f"{other}, {clock}" for other in ("x eager", "x naive") for clock in CLOCKS]
    rows = [
        [
            row.name,
            *(f"{1e3 * row.seconds[clock].median:.1f}" for clock in CLOCKS),
            *(ratio_cell(row, "eager", row.against_eager[clock]) for clock in CLOCKS),
            *(ratio_cell(row, "naive export", row.against_naive[clock]) for clock in CLOCKS),
            f"{row.max_difference:.1e}",
        ]
        for row in table.rows
    ]
    where = f"load {table.load_average:.1f}, {table.repeats} step(s) a sample"
    title = f"### {table.case}, {table.kind} ({where})"
    return f"{title}\n\n{markdown_table([*header, 'max diff'], rows)}"


def ratio_cell(row: Row, against: str, ratio: Spread) -> str:
    return "-" if row.name == against else ratio.ratio_text()


def overhead_text(overheads: Sequence[Overhead]) -> str:
    header = ["", "clock", "step ms", "push less its own step", "push less a bare step"]
    rows = [
        [
            o.kind,
            clock,
            f"{o.step_ms[clock].median:.1f}",
            o.inside[clock].percent_text(),
            o.against_bare[clock].percent_text(),
        ]
        for o in overheads
        for clock in CLOCKS
    ]
    return "### Overhead, embedded-256\n\n" + markdown_table(header, rows)


def flat_text(flat: Flat) -> str:
    rows = [
        [
            clock,
            f"{flat.first_ms[clock]:.1f}",
            f"{flat.last_ms[clock]:.1f}",
            f"{flat.drift[clock][0]:+.2%} ± {flat.drift[clock][1]:.2%}",
        ]
        for clock in CLOCKS
    ]
    header = ["clock", "first 10 % ms", "last 10 % ms", "drift over the run"]
    return f"### Encoder over {flat.chunks} chunks, embedded-256\n\n{markdown_table(header, rows)}"


def targets_text(targets: Sequence[Target]) -> str:
    rows = [
        [t.name, t.limit, t.measured, f"{t.verdict} ({t.doubt})" if t.doubt else t.verdict]
        for t in targets
    ]
    return "### Targets\n\n" + markdown_table(["target", "limit", "measured", ""], rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
