"""What a step costs: the original in PyTorch, a naive export of it, and our two forms.

    python benchmarks/step_graph.py --quick --only embedded-256

README.md says how to read it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from candidates import CASES, open_kind, run_case, write_embedded
from processes import run_import, run_memory
from report import json_of, report_of
from results import Results, machine_facts
from streams import run_flat, run_overhead
from targets import targets_of

CHECKS = ("overhead", "import", "memory", "flat")


def run_all(only: Sequence[str], runs: int, chunks: int, compiled: bool) -> Results:
    results = Results(machine_facts(), runs)
    if "import" in only:
        results.imports = run_import()
    if {"overhead", "memory", "flat"} & set(only):
        with tempfile.TemporaryDirectory(prefix="step_graph_") as folder:
            bundle = write_embedded(Path(folder) / "bundle")
            if "memory" in only:
                results.memory = run_memory(bundle.path)
            if "overhead" in only:
                results.overhead = run_overhead(bundle, open_kind, runs)
            if "flat" in only:
                results.flat = run_flat(bundle.path, chunks)
    for name in CASES:
        if name in only:
            results.tables += run_case(name, runs, compiled, results.notes)
    return results


def parse_only(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    known = [*CASES, *CHECKS]
    names = [name.strip() for name in value.split(",")] if value else known
    if wrong := sorted(set(names) - set(known)):
        raise click.BadParameter(f"{', '.join(wrong)}; there are {', '.join(known)}")
    return names


@click.command()
@click.option("--only", callback=parse_only, default="", help="Comma-separated cases and checks.")
@click.option("--quick", is_flag=True, help="3 rounds and 100 chunks: does it run?")
@click.option("--runs", type=click.IntRange(2), default=7, show_default=True, help="Rounds.")
@click.option("--chunks", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="Also torch.compile; takes minutes.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--strict", is_flag=True, help="Exit 1 where a target that was measured is missed.")
def main(
    only: list[str],
    quick: bool,
    runs: int,
    chunks: int,
    compiled: bool,
    json_file: Path | None,
    strict: bool,
) -> None:
    """Compare step graphs with PyTorch and with a naive export, and check the targets."""
    if quick:
        runs, chunks = 3, 100
    results = run_all(only, runs, chunks, compiled)
    targets = targets_of(results)
    click.echo(report_of(results, targets))
    if json_file:
        json_file.write_text(json_of(results, targets), encoding="utf-8")
    if strict and any(target.verdict == "fell short" for target in targets):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
