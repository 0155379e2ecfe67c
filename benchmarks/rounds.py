"""Candidates measured in turn by `vidtok_edge.runtime.bench.measuring`, and what is compared."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import click

from vidtok_edge.lowering.step import Kind
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.matrix import Benchmark, Entry, run_matrix
from vidtok_edge.runtime.bench.measuring.ratios import Spread, paired, ratio_of
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.ratio import Ratio
from vidtok_edge.runtime.bench.settings import Pace, Settings

__all__ = [
    "compared",
    "cpu_per_frame",
    "measured",
    "overhead_share",
    "saturated",
    "spread_of",
    "step_ms",
]

Value = Callable[[Turn], float | None]


def measured(candidates: Sequence[Candidate], settings: Settings, label: str) -> Benchmark:
    """Every candidate in turn, each turn in a process of its own that finds this folder's modules.

    Raises ClickException where one of them failed.
    """
    here = str(Path(__file__).resolve().parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if here not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, *paths]))
    with click.progressbar(
        length=1000, label=label, file=sys.stderr, item_show_func=lambda what: what or ""
    ) as bar:
        done = run_matrix(
            candidates,
            settings,
            progress=lambda share, what: bar.update(round(1000 * share) - bar.pos, what),
        )
    if done.interrupted is not None:
        raise done.interrupted
    if done.troubles:
        raise click.ClickException("; ".join(done.troubles))
    return done


def saturated(seconds: float, rounds: int) -> Settings:
    """Encode and decode as fast as it goes, for so long in all, with no meter beside."""
    return Settings(
        Pace(None), seconds=seconds, warmup_s=0.0, rounds=rounds, decode=True, meters=False
    )


def step_ms(kind: Kind) -> Value:
    """The median step of a turn, without what the runtime adds."""

    def value_of(turn: Turn) -> float | None:
        calls = turn.measured.encoder if kind == "encoder" else turn.measured.decoder
        return median(calls.compute_ns) / 1e6 if calls.compute_ns else None

    return value_of


def overhead_share(kind: Kind) -> Value:
    """What the runtime adds to a step, as a share of it: the median over a turn's calls."""

    def value_of(turn: Turn) -> float | None:
        calls = turn.measured.encoder if kind == "encoder" else turn.measured.decoder
        pairs = zip(calls.overhead_ns, calls.compute_ns, strict=True)
        shares = [overhead / max(1, step) for overhead, step in pairs]
        return median(shares) if shares else None

    return value_of


def cpu_per_frame(turn: Turn) -> float | None:
    """CPU time of all threads, of encoder and decoder together."""
    frames = turn.measured.frames
    return turn.measured.cpu_ns / frames if frames else None


def spread_of(turns: Sequence[Turn], value_of: Value) -> Spread:
    """Over the turns that tell. Raises ClickException where none does."""
    values = [value for turn in turns if (value := value_of(turn)) is not None]
    if not values:
        raise click.ClickException("No call ended in time; measure for longer.")
    return Spread.of(values)


def compared(ours: Entry, theirs: Entry, value_of: Value, candidates: int, metric: str) -> Ratio:
    """How many times as fast ours is, round by round, in a run that compares so many candidates."""
    values = paired(theirs.turns, ours.turns, value_of)
    if not values:
        raise click.ClickException("No call ended in time; measure for longer.")
    return ratio_of(
        values,
        candidates=candidates,
        candidate=str(ours.candidate),
        against=str(theirs.candidate),
        metric=metric,
    )
