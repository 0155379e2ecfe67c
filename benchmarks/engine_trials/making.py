"""Graphs and engines of trials, side by side, until the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Literal

from engine_trials.tools import BuiltEngine, WrittenGraph
from engine_trials.trial import Trial
from engine_trials.workers import Ended, Opened, Workers

__all__ = ["Made", "make"]

_POLL_S = 0.5

Status = Literal["waiting", "written", "built", "failed", "not reached"]


@dataclass(slots=True)
class Made:
    """What became of one trial."""

    trial: Trial
    status: Status = "waiting"
    why: str = ""
    """There is no engine; empty where there is one, or where none was to be built."""
    graph: WrittenGraph | None = None
    """None also where it was there already."""
    engine: BuiltEngine | None = None


def make(
    trials: Sequence[Trial],
    *,
    writers: Workers,
    builders: Workers | None,
    seconds: float,
    there: Callable[[Trial], bool] = lambda trial: False,
    say: Callable[[str], None] = print,
) -> list[Made]:
    """Write the graphs of `trials` and build their engines, in their order as far as it goes.

    Args:
        writers, builders: not started; without builders, graphs are written alone. Few builders:
            15 at once slowed each other down so that none finished in 130 s (H200, 16 cores).
        seconds: when workers are killed, whatever they do.
        there: whether the graph of a trial is there already.
        say: is told of progress, a line at a time.
    """
    making = _Making([Made(trial) for trial in trials], writers, builders, say)
    end = making.start + seconds
    try:
        making.begin(there)
        while making.unfinished and (left := end - time.monotonic()) > 0:
            making.turn(min(_POLL_S, left))
        making.give_up(seconds)
    finally:
        for workers in making.both:
            workers.close()
    return making.made


class _Making:
    def __init__(
        self,
        made: list[Made],
        writers: Workers,
        builders: Workers | None,
        say: Callable[[str], None],
    ) -> None:
        self.made, self.writers, self.builders = made, writers, builders
        self.both = [writers] if builders is None else [writers, builders]
        self.start, self.told = time.monotonic(), say

    def say(self, text: str) -> None:
        self.told(f"{time.monotonic() - self.start:6.1f} s  {text}")

    @property
    def unfinished(self) -> list[Made]:
        open_status = ("waiting", "written") if self.builders else ("waiting",)
        return [one for one in self.made if one.status in open_status]

    def begin(self, there: Callable[[Trial], bool]) -> None:
        missing = {one.trial.graph: one.trial for one in self.made if not there(one.trial)}
        if self.builders is not None:
            self.builders.start()
        if missing:
            self.writers.start()
        for name, trial in missing.items():
            self.writers.give(name, trial)
        for one in self.made:
            if one.trial.graph not in missing:
                self.say(f"{one.trial.graph}: there already")
                self.written(one, None)

    def turn(self, seconds: float) -> None:
        """Wait for the workers to say something, and act on it."""
        heard = wait([c for workers in self.both for c in workers.connections], seconds)
        for said in self.writers.read(heard):
            if isinstance(said, Ended):
                self.graph_ended(said)
        if not self.writers.busy:
            self.writers.close()  # its processes hold memory, and threads that others can use
        for said in self.builders.read(heard) if self.builders else []:
            if isinstance(said, Opened):
                self.say(f"{said.worker}: ready after {said.seconds:.0f} s")
            else:
                self.engine_ended(said)
        for one in self.unfinished:
            unusable = self.builders.unusable if self.builders else ""
            if one.status == "waiting":
                unusable = unusable or self.writers.unusable
            if unusable:
                one.status, one.why = "failed", unusable

    def graph_ended(self, ended: Ended) -> None:
        if ended.why:
            self.say(f"{ended.task}: not written; {ended.why}")
        else:
            nodes = sum(ended.value.operators.values())
            self.say(f"{ended.task}: written, {nodes} nodes, {ended.value.seconds:.0f} s")
        for one in self.made:
            if one.trial.graph != ended.task:
                continue
            if ended.why:
                one.status, one.why = "failed", f"not written: {ended.why}"
            else:
                self.written(one, ended.value)

    def written(self, one: Made, graph: WrittenGraph | None) -> None:
        one.status, one.graph = "written", graph
        if self.builders is not None:
            self.builders.give(one.trial.name, one.trial)

    def engine_ended(self, ended: Ended) -> None:
        one = next(one for one in self.made if one.trial.name == ended.task)
        one.engine = ended.value
        one.status, one.why = ("failed", f"not built: {ended.why}") if ended.why else ("built", "")
        self.say(f"{ended.task}: {one.why or f'built, {ended.seconds:.0f} s'}")

    def give_up(self, seconds: float) -> None:
        """Say of what is not finished how far it came."""
        writing = self.writers.at_work()
        building = self.builders.at_work() if self.builders else {}
        for one in self.unfinished:
            over = f"when {seconds:.0f} s were over"
            if one.trial.name in building:
                taken = building[one.trial.name]
                one.why = f"not built: the builder had worked on it for {taken:.0f} s {over}"
            elif one.status == "written":
                one.why = f"not built: it was waiting for a builder {over}"
            elif one.trial.graph in writing:
                taken = writing[one.trial.graph]
                one.why = f"not written: the exporter had worked on it for {taken:.0f} s {over}"
            else:
                one.why = f"not written: it was not begun {over}"
            one.status = "not reached"
            self.say(f"{one.trial.name}: {one.why}")
