"""What a benchmark found: printed as tables, and written as JSON that `tables.py` reads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from tables import COLUMNS, markdown_of
from targets import Target

from vidtok_edge.runtime.bench.machine import Machine
from vidtok_edge.runtime.bench.meters.machine import describe_machine

__all__ = ["Report", "begin", "commit_of"]


@dataclass
class Report:
    """Tables by name; rows as `tables.COLUMNS` shows them."""

    benchmark: str
    how: str
    facts: Machine
    tables: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    """What the tables were made of, where they do not say it all."""

    def show(self) -> None:
        """Print everything."""
        for name, rows in self.tables.items():
            click.echo(f"\n### {name}\n\n{markdown_of(COLUMNS[name], rows)}", nl=False)
        for note in self.notes:
            click.echo(f"\n{note}")

    def judge(self, name: str, targets: Sequence[Target]) -> None:
        """Add a table of targets."""
        self.targets += targets
        if targets:
            self.tables[name] = [target.row() for target in targets]

    @property
    def reached(self) -> bool:
        """Every target that was measured."""
        return all(target.reached for target in self.targets)

    def write(self, path: Path | None) -> None:
        """Write it, where there is a place."""
        if path is None:
            return
        document = {
            "benchmark": self.benchmark,
            "machine": _line(self.facts),
            "commit": commit_of(),
            "how": self.how,
            "facts": asdict(self.facts),
            "notes": self.notes,
            "tables": self.tables,
            "raw": self.raw,
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def begin(benchmark: str, how: str) -> Report:
    """A report of nothing yet; says what it is measured on."""
    report = Report(benchmark, how, describe_machine())
    for name, value in report.facts.rows():
        click.echo(f"{name}: {value}")
    return report


def _line(machine: Machine) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    gpu = machine.gpu or "no GPU"
    return f"{machine.cpu}, {machine.cores} cores, {gpu}, {machine.system}, {packages}"


def commit_of() -> str:
    """Of this checkout, marked where it has changes; `unknown` without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
