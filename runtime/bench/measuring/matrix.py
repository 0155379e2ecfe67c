"""All candidates in turn, round after round, so that a ratio compares neighbours in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vidtok_edge.errors import UsageError, VidTokEdgeError
from vidtok_edge.runtime.bench.machine import Machine
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.measuring.worker import run_in_process
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest.manifest import Manifest

__all__ = ["Benchmark", "Entry", "order_of", "run_matrix"]

TRIAL_S = 0.001

RunTurn = Callable[[Candidate, Settings, Callable[[float], None]], Turn]


@dataclass(slots=True)
class Entry:
    """One candidate, what it is, and a turn of each round."""

    candidate: Candidate
    manifest: Manifest
    turns: list[Turn]


@dataclass(slots=True, kw_only=True)
class Benchmark:
    """Everything that was measured; `entries[0]` is what the others are held to."""

    started: float
    """Unix time."""
    machine: Machine
    settings: Settings
    entries: list[Entry]
    """Those of which a round is complete."""
    troubles: list[str] = field(default_factory=list)
    """What of the plan was not measured, and why."""
    interrupted: KeyboardInterrupt | None = None
    """Ctrl-C, or what asked this process to end."""


def order_of(count: int, round_number: int) -> list[int]:
    """Who runs when in a round: nobody always follows the same neighbour, or comes first.

    >>> [order_of(2, number) for number in range(4)]
    [[0, 1], [1, 0], [1, 0], [0, 1]]
    """
    first = round_number // 2 % count
    order = [(first + i) % count for i in range(count)]
    return order[::-1] if round_number % 2 else order


def run_matrix(
    candidates: Sequence[Candidate],
    settings: Settings,
    *,
    run: RunTurn = run_in_process,
    progress: Callable[[float, str], None] = lambda share, what: None,
) -> Benchmark:
    """Measure every candidate.

    A short trial of each comes first: it finds what cannot run before hours are spent, and leaves
    every file in the system's cache, so that start-up times compare. A candidate that fails later
    is left out from there on. After Ctrl-C there are the rounds that were complete.

    Args:
        candidates: at least one.
        settings: for all of them.
        run: makes a turn; in a process of its own.
        progress: is told the share that is done, and what is going on.

    Raises:
        UsageError: no candidates.
        Whatever a trial raises, or a turn or Ctrl-C before anything was measured.
    """
    if not candidates:
        raise UsageError("There is nothing to measure; name a bundle.")
    machine, started = describe_machine(), time.time()
    entries = [Entry(c, Bundle.load(c.bundle).manifest, []) for c in candidates]
    trial = replace(settings, seconds=TRIAL_S, warmup_s=0.0, rounds=1, meters=False)
    for entry in entries:
        progress(0.0, f"trying {entry.candidate}")
        run(entry.candidate, trial, lambda share: None)
    benchmark = Benchmark(started=started, machine=machine, settings=settings, entries=entries)
    number, failed = 0, dict[int, VidTokEdgeError]()
    try:
        for number in range(settings.rounds):
            _run_round(benchmark, number, failed, run, progress)
        progress(1.0, "")
    except KeyboardInterrupt as interrupt:
        for entry in entries:
            del entry.turns[number:]
        benchmark.interrupted = interrupt
        benchmark.troubles.append(f"Interrupted after {number} of {settings.rounds} rounds.")
    benchmark.entries = [entry for entry in entries if entry.turns]
    if not benchmark.entries:
        raise benchmark.interrupted or next(iter(failed.values()))
    return benchmark


def _run_round(
    benchmark: Benchmark,
    number: int,
    failed: dict[int, VidTokEdgeError],
    run: RunTurn,
    progress: Callable[[float, str], None],
) -> None:
    """A turn of each candidate that has not `failed`, where those that fail in it are added."""
    entries, settings = benchmark.entries, benchmark.settings
    for place, index in enumerate(order_of(len(entries), number)):
        entry = entries[index]
        done = number * len(entries) + place
        what = f"round {number + 1} of {settings.rounds}"

        def tell(share: float, done: int = done, what: str = f"{entry.candidate}, {what}") -> None:
            progress((done + share) / (len(entries) * settings.rounds), what)

        tell(0.0)
        if index in failed:
            continue
        try:
            entry.turns.append(run(entry.candidate, settings, tell))
        except VidTokEdgeError as error:
            failed[index] = error
            benchmark.troubles.append(f"{entry.candidate} is left out from {what} on: {error}")
