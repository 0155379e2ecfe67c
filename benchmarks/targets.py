"""The numbers to reach, against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paired import CLOCKS, Spread, Table
from processes import Import, Memory
from results import Results
from streams import Flat, Overhead

OVER_EAGER = {"encoder": 1.4, "decoder": 1.3}
OVER_NAIVE = {"encoder": 2.0}
OVERHEAD = 0.03
IMPORT_S = 0.3
MEMORY = 1 / 3
FLAT_TIME, FLAT_MEMORY = 1.05, 1.01  # last 10 % against first 10 %


@dataclass(frozen=True)
class Target:
    """A number to reach, and what was measured."""

    name: str
    limit: str
    measured: str
    verdict: Literal["reached", "fell short"]
    doubt: str = ""
    """Why the verdict may come out differently next time."""


def targets_of(results: Results) -> list[Target]:
    targets = [t for table in results.tables for t in speed_targets(table)]
    targets += [overhead_target(o, clock) for o in results.overhead for clock in CLOCKS]
    if results.imports:
        targets += import_targets(results.imports)
    if results.memory:
        targets.append(memory_target(results.memory))
    if results.flat:
        targets += flat_targets(results.flat)
    return targets


def speed_targets(table: Table) -> list[Target]:
    if table.case != "full-128":
        return []
    row = table.row("conv2d")
    wanted = [
        ("eager", row.against_eager, OVER_EAGER),
        ("naive export", row.against_naive, OVER_NAIVE),
    ]
    return [
        ratio_target(f"conv2d over {other}, {table.kind}, full-128, {clock}", ratio[clock], limit)
        for other, ratio, limits in wanted
        if (limit := limits.get(table.kind))
        for clock in CLOCKS
    ]


def ratio_target(name: str, ratio: Spread, limit: float) -> Target:
    reached = verdict(ratio.median >= limit)
    return Target(name, f">= {limit}", ratio.ratio_text(), reached, doubt(ratio, limit))


def overhead_target(overhead: Overhead, clock: str) -> Target:
    share = overhead.inside[clock]
    name = f"push less its step, {overhead.kind}, embedded-256, {clock}"
    reached = verdict(share.median <= OVERHEAD)
    return Target(name, f"<= {OVERHEAD:.0%}", share.percent_text(), reached, doubt(share, OVERHEAD))


def import_targets(imports: Import) -> list[Target]:
    seconds = imports.seconds
    measured = f"{seconds.median:.3f} s ({seconds.low:.3f}..{seconds.high:.3f})"
    loaded = ", ".join(imports.loaded) or "none"
    fast = verdict(seconds.median < IMPORT_S)
    unsure = doubt(seconds, IMPORT_S)
    return [
        Target("import vidtok_edge.runtime", f"< {IMPORT_S} s", measured, fast, unsure),
        Target("torch, onnx, av loaded by it", "none", loaded, verdict(not imports.loaded)),
    ]


def memory_target(memory: Memory) -> Target:
    ours, original = memory.runtime_peak.median, memory.torch_peak.median
    measured = f"{ours:.0f} / {original:.0f} MB, {memory.ratio.ratio_text()}"
    name = "peak memory, runtime / PyTorch process, embedded model"
    reached = verdict(memory.ratio.median < MEMORY)
    return Target(name, "< 1/3", measured, reached, doubt(memory.ratio, MEMORY))


def flat_targets(flat: Flat) -> list[Target]:
    time_ratio = flat.last_ms.cpu / flat.first_ms.cpu
    early, late = flat.rss_mb
    over = f"over {flat.chunks} chunks"
    return [
        Target(
            f"step time {over}, last 10 % / first 10 %, cpu",
            f"<= {FLAT_TIME}",
            f"{flat.last_ms.cpu:.1f} / {flat.first_ms.cpu:.1f} ms = {time_ratio:.3f}",
            verdict(time_ratio <= FLAT_TIME),
        ),
        Target(
            f"memory {over}, end / after 10 %",
            f"<= {FLAT_MEMORY}",
            f"{late:.1f} / {early:.1f} MB = {late / early:.3f}",
            verdict(late / early <= FLAT_MEMORY),
        ),
    ]


def verdict(passed: bool) -> Literal["reached", "fell short"]:
    return "reached" if passed else "fell short"


def doubt(measured: Spread, limit: float) -> str:
    return "spread crosses the limit" if measured.low < limit < measured.high else ""
