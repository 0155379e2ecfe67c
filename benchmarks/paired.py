"""Candidates measured in turn: every round runs each once, so that a ratio compares neighbours."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import click
import numpy as np
from numpy.typing import NDArray

Kind = Literal["encoder", "decoder"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder")
CLOCKS = ("cpu", "wall")
WARM_UP = 2
SAMPLE_S = 0.2  # a sample repeats short steps until it is about this long
SETTLE_S = 0.02  # between samples: idle threads of the candidate before stop spinning


@dataclass(frozen=True)
class Sample:
    """Seconds of one step."""

    cpu: float
    """Of all threads of the process."""
    wall: float

    def __getitem__(self, clock: str) -> float:
        return self.cpu if clock == "cpu" else self.wall


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of paired rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def ratio_text(self) -> str:
        """A ratio with its spread; one that does not exclude 1 says so."""
        noise = ", inside the noise" if self.low <= 1 <= self.high else ""
        return f"{self.median:.2f} ({self.low:.2f}..{self.high:.2f}){noise}"

    def percent_text(self) -> str:
        return f"{self.median:.2%} ({self.low:.2%}..{self.high:.2%})"


@dataclass(frozen=True)
class Candidate:
    """One way to compute a step; `output` is in the layout of the original, [B, C, T, H, W]."""

    name: str
    run: Callable[[], object]
    output: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """What was measured of one candidate."""

    name: str
    seconds: dict[str, Spread]
    against_eager: dict[str, Spread]
    """Seconds of eager over seconds of this one, per round and clock: above 1 is faster."""
    against_naive: dict[str, Spread]
    max_difference: float
    samples: list[Sample]


@dataclass(frozen=True)
class Table:
    """One case and kind."""

    case: str
    kind: Kind
    repeats: int
    """How many steps a sample is the mean of."""
    load_average: float
    rows: list[Row]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


def measure(run: Callable[[], object], repeats: int = 1) -> Sample:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(cpu / repeats, wall / repeats)


def ratios(over: Sequence[Sample], under: Sequence[Sample], clock: str) -> Spread:
    return Spread.of([a[clock] / b[clock] for a, b in zip(over, under, strict=True)])


def compare(case: str, kind: Kind, candidates: Sequence[Candidate], runs: int) -> Table:
    """Measure the candidates, "eager" and "naive export" among them, the first being right."""
    differences = max_differences(candidates, kind)
    for _ in range(WARM_UP):
        seconds = [measure(candidate.run).wall for candidate in candidates]
    repeats = max(1, min(20, round(SAMPLE_S / max(seconds))))
    samples = run_rounds(candidates, runs, repeats, f"{case} {kind}: measuring")
    rows = [
        Row(
            name,
            {clock: Spread.of([s[clock] for s in mine]) for clock in CLOCKS},
            {clock: ratios(samples["eager"], mine, clock) for clock in CLOCKS},
            {clock: ratios(samples["naive export"], mine, clock) for clock in CLOCKS},
            difference,
            mine,
        )
        for (name, mine), difference in zip(samples.items(), differences, strict=True)
    ]
    return Table(case, kind, repeats, os.getloadavg()[0], rows)


def run_rounds(
    candidates: Sequence[Candidate], runs: int, repeats: int, label: str
) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {candidate.name: [] for candidate in candidates}
    shuffler = random.Random(0)  # nobody always follows the same neighbour
    with progress(range(runs), label) as rounds:
        for _ in rounds:
            for candidate in shuffler.sample(candidates, len(candidates)):
                time.sleep(SETTLE_S)
                samples[candidate.name].append(measure(candidate.run, repeats))
    return samples


def max_differences(candidates: Sequence[Candidate], kind: Kind) -> list[float]:
    """Largest absolute difference to the first candidate; uint8 frames round and clamp."""
    outputs = [candidate.output() for candidate in candidates]
    if kind == "decoder":
        outputs = [output.clip(-1, 1) for output in outputs]
    return [float(np.abs(output - outputs[0]).max()) for output in outputs]


def progress(items: Any, label: str) -> Any:
    return click.progressbar(items, label=label, file=sys.stderr)
