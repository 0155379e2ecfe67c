"""What the step graphs gained since a commit: the embedded model as it was exported then and now.

    python benchmarks/before.py ee53176

All run in this commit's runtime, which asks for exact INT8 sums where a graph needs it. INT8 is
measured with this commit's policy, and with as many layers in INT8 as it had before 0.2.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import click
from cases import CASES
from precision import write_precisions
from report import begin
from rounds import compared, measured, saturated, spread_of, step_ms
from targets import Target, at_least, ratio_row

from vidtok_edge.calib.policy import Policy, Rule
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.step import Kind
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.ratios import rounds_needed
from vidtok_edge.runtime.manifest.graphs import Precision

ROOT = Path(__file__).resolve().parents[1]
CASE = "embedded-256"
Limits = dict[Precision, dict[Kind, float]]
OVER_BEFORE: Limits = {
    "fp32": {"encoder": 1.3, "decoder": 1.25},
    "int8": {"encoder": 1.4, "decoder": 1.4},
}
WITHOUT_VNNI: Limits = OVER_BEFORE | {"int8": {"encoder": 1.25, "decoder": 1.35}}
MORE_INT8 = Policy(
    (
        Rule("*", "int8"),
        Rule("*.attn_1.*", "float"),
        Rule("*.conv_in", "float"),
        Rule("encoder.conv_out", "float"),
        Rule("decoder.conv_out", "cache"),
    )
)
"""The default of 0.1."""
COMPARED = 3 * len(KINDS)
"""The candidates in both precisions that are held to those of before."""
EXPORT_THEN = f"""
import sys
from pathlib import Path
from cases import CASES
from precision import write_precisions
write_precisions(CASES["{CASE}"], Path(sys.argv[1]), frames=9)
"""


@click.command(help=__doc__)
@click.argument("commit")
@click.option("--runs", default=rounds_needed(COMPARED), show_default=True, help="Paired rounds.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(commit: str, runs: int, json_path: Path | None) -> None:
    how = (
        f"`python benchmarks/before.py {commit}`, ratios per round, median (min..max), "
        f"{runs} rounds"
    )
    report = begin("before", how)
    with tempfile.TemporaryDirectory(prefix="before_") as scratch:
        folders = [Path(scratch) / name for name in ("before", "now", "more")]
        export_then(commit, Path(scratch) / "code", folders[0])
        write_precisions(CASES[CASE], folders[1], frames=9)
        write_precisions(CASES[CASE], folders[2], frames=9, policy=MORE_INT8)
        # Processors without VNNI compute INT8 otherwise: they have tables and limits of their own.
        suffix, limits = ("", OVER_BEFORE) if has_vnni() else ("-avx2", WITHOUT_VNNI)
        rows = report.tables.setdefault(f"before-speed{suffix}", [])
        report.judge(f"before{suffix}", compare(rows, limits, folders, runs))
    report.show()
    report.write(json_path)


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor says that it has products of four bytes, AVX-512's or AVX2's."""
    return bool(re.search(r"\b(avx512_vnni|avx_vnni)\b", cpuinfo.read_text(encoding="utf-8")))


def export_then(commit: str, code: Path, folder: Path) -> None:
    """Write a bundle to `folder` by the code of `commit`, which is unpacked at `code`."""
    command = ["git", "-C", str(ROOT), "archive", commit]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{commit}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(code, filter="data")
    paths = os.pathsep.join(str(code / name) for name in ("src", "benchmarks"))
    subprocess.run(
        [sys.executable, "-c", EXPORT_THEN, str(folder)],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
    )


def compare(
    rows: list[Mapping[str, Any]], wanted: Limits, folders: list[Path], runs: int
) -> list[Target]:
    """Adds to `rows`, of the table of speeds; the targets."""
    seconds = CASES[CASE].seconds * runs
    settings = saturated(seconds, runs)
    targets: list[Target] = []
    for precision, limits in wanted.items():
        names = ["", "", ", the layers of 0.1"] if precision == "int8" else ["", ""]
        candidates = [
            Candidate(str(folder), "cpu", precision)
            for folder, _ in zip(folders, names, strict=False)
        ]
        before, *others = measured(candidates, settings, precision).entries
        for (kind, now), name in zip(product(KINDS, others), names[1:] * len(KINDS), strict=True):
            value_of, what = step_ms(kind), f"{precision} {kind}{name}"
            ratio = compared(now, before, value_of, COMPARED, kind)
            rows.append(
                {
                    "graph": what,
                    "before_ms": spread_of(before.turns, value_of).median,
                    "now_ms": spread_of(now.turns, value_of).median,
                    "now_over_before": ratio_row(ratio),
                }
            )
            targets.append(at_least(f"{what} at least {limits[kind]}x", ratio, limits[kind]))
    return targets


if __name__ == "__main__":
    main()
