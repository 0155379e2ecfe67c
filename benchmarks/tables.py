"""Tables in Markdown files, made from what benchmarks wrote.

    python benchmarks/tables.py            # rewrite them
    python benchmarks/tables.py --check    # exit 1 where one differs

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; its numbers are those of NAME in a
file of `docs/measured/`, which is what a benchmark's `--json` wrote.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

__all__ = ["COLUMNS", "Column", "documents", "markdown_of", "measured_tables", "rewritten"]

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "docs/measured"
WIDTH = 160
"""Characters of a line of prose at most."""
KINDS = ("encoder", "decoder")
_SUMMARY = (
    ("FP32, over version 0.1", "before", "^fp32 {kind} at least"),
    ("INT8, over version 0.1", "before", "^int8 {kind} at least"),
    ("FP32, over PyTorch eager", "speed-targets", "x eager, embedded.*{kind}$"),
    ("FP32, over OpenVINO", "speed-targets", "OpenVINO.*{kind}$"),
    ("FP32, full width, 128x128, over eager", "speed-targets", "x eager, full width.*{kind}$"),
)
"""What each row is called, and which target of which table it is of."""
_MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_BEGIN = re.compile(r"<!-- table: ")


@dataclass(frozen=True)
class Column:
    """A column's title, and what it shows of a row.

    `later` is a key that older measurements lack; the column is left out of those.
    """

    title: str
    cell: Callable[[Mapping[str, Any]], str]
    later: str | None = None


@dataclass(frozen=True)
class Measured:
    """The rows of one table, and where they come from."""

    rows: Sequence[Mapping[str, Any]]
    machine: str
    commit: str
    how: str


def _text(title: str, key: str) -> Column:
    return Column(title, lambda row: str(row[key]))


def _number(title: str, key: str, form: str = "") -> Column:
    return Column(title, lambda row: "-" if row[key] is None else format(row[key], form))


def _ratio(title: str, key: str) -> Column:
    return Column(title, lambda row: ratio_text(row[key]))


def _later_ratio(title: str, key: str) -> Column:
    return replace(_ratio(title, key), later=key)


def ratio_text(ratio: Mapping[str, Any]) -> str:
    """Median, extremes, and what is to be said of them."""
    shown = f"{ratio['median']:.2f} ({ratio['low']:.2f}..{ratio['high']:.2f})"
    return f"{shown}, {ratio['verdict']}" if ratio["verdict"] else shown


def _psnr(clip: str) -> Column:
    def cell(row: Mapping[str, Any]) -> str:
        quality = row[clip]
        gain = "" if quality["gain_db"] is None else f" ({_signed(quality['gain_db'])})"
        return f"{quality['psnr_db']:.2f}{gain}"

    return Column("PSNR dB", cell)


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _clip(clip: str) -> list[Column]:
    return [
        Column(f"{clip}: tokens equal", lambda row: f"{row[clip]['tokens_equal']:.1%}"),
        _psnr(clip),
        Column("SSIM", lambda row: f"{row[clip]['ssim']:.3f}"),
    ]


_TARGETS = [_text("target", "target"), _text("measured", "measured"), _text("", "verdict")]
_THREADS = [
    _text("threads", "way"),
    _number("p50 ms", "p50_ms", ".1f"),
    _number("p99 ms", "p99_ms", ".1f"),
    _number("CPU ms a frame", "cpu_ms", ".1f"),
]
_SPEED = [
    _text("case", "case"),
    _number("eager ms", "eager_ms", ".0f"),
    _number("conv2d ms", "conv2d_ms", ".0f"),
    _ratio("conv2d over PyTorch eager", "conv2d_over_eager"),
    _ratio("conv2d over a naive ONNX export", "conv2d_over_naive"),
    _later_ratio("channels_last over conv2d", "channels_last_over_conv2d"),
    _later_ratio("channels_last over eager", "channels_last_over_eager"),
    _later_ratio("channels_last over naive", "channels_last_over_naive"),
    _ratio("conv3d over eager", "conv3d_over_eager"),
    _ratio("conv3d over naive", "conv3d_over_naive"),
]
_BEFORE = [
    _text("graph", "graph"),
    _number("before ms", "before_ms", ".0f"),
    _number("now ms", "now_ms", ".0f"),
    _ratio("times as fast", "now_over_before"),
]
COLUMNS: Mapping[str, Sequence[Column]] = {
    "precisions": [
        _text("graphs", "graphs"),
        _number("files MB", "files_mb", ".1f"),
        _number("caches MB", "caches_mb", ".1f"),
        _number("encode ms", "encode_ms", ".0f"),
        _number("decode ms", "decode_ms", ".0f"),
        *_clip("robot"),
        *_clip("film"),
        *_clip("hard"),
    ],
    "precision-targets": _TARGETS,
    "precision-speed": [
        _text("graph", "graph"),
        _number("fp32 ms", "fp32_ms", ".0f"),
        _number("int8 ms", "int8_ms", ".0f"),
        _ratio("times as fast", "int8_over_fp32"),
        _number("caches", "cache_ratio", ".3f"),
        _number("work in INT8", "int8_work", ".0%"),
    ],
    "precision-losses": [
        _text("graphs", "graphs"),
        _text("clip", "clip"),
        _number("equal tokens", "tokens_equal", ".2%"),
        _number("off by one level", "off_by_one", ".2%"),
        _number("dB to fp32", "psnr_db", ".1f"),
        _number("PSNR dB", "source_psnr_db", ".2f"),
        _number("lost dB", "loss_db", ".3f"),
        _number("SSIM", "source_ssim", ".4f"),
    ],
    "speed": _SPEED,
    "speed-targets": _TARGETS,
    "speed-summary": [
        _text("encoder, decoder", "what"),
        _text("with VNNI", "ratio"),
        _text("without", "ratio-avx2"),
    ],
    "speed-avx2": _SPEED,
    "speed-targets-avx2": _TARGETS,
    "before-speed": _BEFORE,
    "before-speed-avx2": _BEFORE,
    "before": _TARGETS,
    "before-avx2": _TARGETS,
    "threads": _THREADS,
    "threads-loaded": _THREADS,
    "embedded": [
        _text("clip", "clip"),
        _number("PSNR dB before", "psnr_before", ".2f"),
        _number("after", "psnr_after", ".2f"),
        _number("SSIM before", "ssim_before", ".3f"),
        _number("after", "ssim_after", ".3f"),
        _number("worst frame after", "worst_frame"),
        _number("its PSNR dB", "worst_psnr", ".2f"),
    ],
    "runtime-targets": _TARGETS,
    "engines": [
        _text("graphs of", "models"),
        _number("engines built", "built"),
        _number("of", "asked"),
        _text("refused", "refused"),
    ],
}


def measured_tables(folder: Path = MEASURED) -> dict[str, Measured]:
    """Every table of the files in `folder`, by name.

    Raises ClickException for a file that is not what a benchmark writes, or two of one name.
    """
    found: dict[str, Measured] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            facts = {key: str(document[key]) for key in ("machine", "commit", "how")}
            tables = dict(document["tables"])
        except (ValueError, KeyError, TypeError) as error:
            raise click.ClickException(
                f"{path} is not what a benchmark writes: {error!r}"
            ) from None
        if twice := set(tables) & set(found):
            raise click.ClickException(f"{path} has {sorted(twice)[0]}, which another file has too")
        found |= {name: Measured(rows=rows, **facts) for name, rows in tables.items()}
    return found | _summary(found)


def _summary(measured: Mapping[str, Measured]) -> dict[str, Measured]:
    """The table `speed-summary`: what was aimed at, on processors with and without VNNI."""
    if not {"before", "speed-targets"} <= set(measured):
        return {}
    rows = []
    for title, table, pattern in _SUMMARY:
        row = {"what": title}
        for suffix in ("", "-avx2"):
            targets = measured[table + suffix].rows if table + suffix in measured else ()
            found = [_ratio_of(targets, pattern.format(kind=kind)) for kind in KINDS]
            row[f"ratio{suffix}"] = "-" if "" in found else ", ".join(found)
        rows.append(row)
    machines = [measured[f"before{suffix}"].machine for suffix in ("", "-avx2")]
    commits = [measured[name].commit for name in ("before", "speed-targets")]
    how = "`benchmarks/before.py` and `benchmarks/step_graph.py`, median (min..max)"
    facts = {"machine": "; ".join(machines), "commit": ", ".join(dict.fromkeys(commits))}
    return {"speed-summary": Measured(rows=rows, how=how, **facts)}


def _ratio_of(targets: Sequence[Mapping[str, Any]], pattern: str) -> str:
    """Of the one target that the pattern finds its median and extremes; empty where none is."""
    for target in targets:
        if re.search(pattern, target["target"]):
            return str(target["measured"]).partition(")")[0] + ")"
    return ""


def markdown_of(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table, each row a line."""
    columns = [column for column in columns if all(column.later in (None, *row) for row in rows)]
    lines = [[column.title for column in columns], ["---"] * len(columns)]
    lines += [[column.cell(row) for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def block_of(name: str, measured: Mapping[str, Measured]) -> str:
    """What stands between the marks of `name`: the table, and where its numbers come from."""
    if name not in measured or name not in COLUMNS:
        known = ", ".join(sorted(set(measured) & set(COLUMNS)))
        raise click.ClickException(f"There is no table {name}; there are {known}.")
    table = measured[name]
    facts = f"Measured by {table.how}. Machine: {table.machine}. Commit: {table.commit}."
    return f"{markdown_of(COLUMNS[name], table.rows)}\n{textwrap.fill(facts, WIDTH)}\n"


def rewritten(text: str, measured: Mapping[str, Measured]) -> str:
    """`text` with every marked table made anew. Raises ClickException for marks without an end."""

    def made_anew(match: re.Match[str]) -> str:
        if _BEGIN.search(match[3]):
            raise click.ClickException(f"The table {match[2]} has no `<!-- end -->`.")
        return match[1] + block_of(match[2], measured) + match[4]

    if len(_MARKED.findall(text)) < len(_BEGIN.findall(text)):
        raise click.ClickException("A table has no `<!-- end -->`.")
    return _MARKED.sub(made_anew, text)


def documents(root: Path = ROOT) -> list[Path]:
    """The Markdown files that may hold tables."""
    return sorted([*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("benchmarks/*.md")])


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a table differs.")
def main(check: bool) -> None:
    measured, differ = measured_tables(), False
    for path in documents():
        text = path.read_text(encoding="utf-8")
        new = rewritten(text, measured)
        if new == text:
            continue
        differ = True
        click.echo(f"{path.relative_to(ROOT)} {'differs' if check else 'rewritten'}")
        if not check:
            path.write_text(new, encoding="utf-8")
    sys.exit(1 if check and differ else 0)


if __name__ == "__main__":
    main()
