"""All candidates in turn, round after round, so that a ratio compares neighbours in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.bench.candidate import Candidate
from vidtok_edge.runtime.bench.machine import Machine, describe_machine
from vidtok_edge.runtime.bench.turn import Settings, Turn
from vidtok_edge.runtime.bench.worker import run_in_process
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.manifest import Manifest

__all__ = ["Benchmark", "Entry", "order_of", "run_matrix"]

TRIAL_S = 0.001

RunTurn = Callable[[Candidate, Settings, Callable[[float], None]], Turn]


@dataclass(slots=True)
class Entry:
    """One candidate, what it is, and a turn of each round."""

    candidate: Candidate
    manifest: Manifest
    turns: list[Turn]


@dataclass(slots=True)
class Benchmark:
    """Everything that was measured; `entries[0]` is what the others are held to."""

    started: float
    """Unix time."""
    machine: Machine
    settings: Settings
    entries: list[Entry]


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
    every file in the system's cache, so that start-up times compare.

    Args:
        candidates: at least one.
        settings: for all of them.
        run: makes a turn; in a process of its own.
        progress: is told the share that is done, and what is going on.

    Raises:
        UsageError: no candidates.
        Whatever a turn raises.
    """
    if not candidates:
        raise UsageError("There is nothing to measure; name a bundle.")
    machine, started = describe_machine(), time.time()
    entries = [Entry(c, Bundle.load(c.bundle).manifest, []) for c in candidates]
    trial = replace(settings, seconds=TRIAL_S, warmup_s=0.0, rounds=1, meters=False)
    for entry in entries:
        progress(0.0, f"trying {entry.candidate}")
        run(entry.candidate, trial, lambda share: None)
    done, total = 0, len(entries) * settings.rounds
    for number in range(settings.rounds):
        for index in order_of(len(entries), number):
            what = f"{entries[index].candidate}, round {number + 1} of {settings.rounds}"

            def tell(share: float, done: int = done, what: str = what) -> None:
                progress((done + share) / total, what)

            tell(0.0)
            entries[index].turns.append(run(entries[index].candidate, settings, tell))
            done += 1
    progress(1.0, "")
    return Benchmark(started, machine, settings, entries)
