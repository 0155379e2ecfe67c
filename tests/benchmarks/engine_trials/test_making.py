"""Graphs and engines of trials, made beside one another until the time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from engine_trials import making
from engine_trials.making import make
from engine_trials.tools import BuiltEngine, WrittenGraph
from engine_trials.trial import Trial, trials_of
from engine_trials.workers import Ended, Opened, Workers

ENCODER = Trial("embedded", "encoder", "chunk-tail")
GRAPH = WrittenGraph(2.0, {"Conv": 40, "Add": 10})
ENGINE = BuiltEngine(30.0, 1.5)


class Played(Workers):
    """Workers without processes: what becomes of each task is known ahead; None: it never ends."""

    def __init__(self, ends: dict[str, Any]) -> None:
        self.ends, self.unusable = ends, ""
        self.given, self.started, self.closed = list[str](), False, False
        self._ended = list[str]()

    def start(self) -> None:
        self.started = True

    @property
    def connections(self) -> list[Any]:
        return []

    @property
    def busy(self) -> bool:
        return len(self.given) > len(self._ended)

    def give(self, name: str, task: Any) -> None:
        self.given.append(name)

    def at_work(self) -> dict[str, float]:
        left = [name for name in self.given if name not in self._ended]
        return dict.fromkeys(left[:1], 12.0)

    def read(self, connections: Sequence[object]) -> list[Opened | Ended]:
        said = list[Opened | Ended]()
        for name in self.given:
            end = self.ends.get(name)
            if end is None:
                break  # those behind it wait
            if name not in self._ended:
                self._ended.append(name)
                failed = isinstance(end, str)
                said.append(Ended(name, None if failed else end, end if failed else "", 3.0))
        return said

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_POLL_S", 0.01)


def test_engines_are_built_as_their_graphs_are_there() -> None:
    chosen = trials_of(
        "embedded-encoder-conv3d,embedded-encoder-conv3d@3,embedded-decoder-conv3d,"
        "embedded-encoder-chunk-tail,embedded-decoder-chunk-tail"
    )
    writers = Played(
        {"embedded-encoder-conv3d": GRAPH, "embedded-decoder-conv3d": "TypeError: no"}
        | {"embedded-encoder-chunk-tail": GRAPH}
    )
    builders = Played(
        {"embedded-encoder-conv3d": ENGINE, "embedded-encoder-conv3d@3": "EngineRefused: not that"}
        | {"embedded-decoder-chunk-tail": ENGINE, "embedded-encoder-chunk-tail": ENGINE}
    )
    lines = list[str]()
    made = make(
        chosen,
        writers=writers,
        builders=builders,
        seconds=30,
        there=lambda trial: trial.graph == "embedded-decoder-chunk-tail",
        say=lines.append,
    )
    assert [(one.status, one.why) for one in made] == [
        ("built", ""),
        ("failed", "not built: EngineRefused: not that"),
        ("failed", "not written: TypeError: no"),
        ("built", ""),
        ("built", ""),
    ]
    assert writers.given == [
        f"embedded-{name}" for name in ("encoder-conv3d", "decoder-conv3d", "encoder-chunk-tail")
    ], "a graph of two trials once, and none that is there"
    assert builders.given[0] == "embedded-decoder-chunk-tail"
    assert writers.closed and builders.closed
    told = "\n".join(lines)
    assert "embedded-encoder-conv3d: written, 50 nodes, 2 s" in told
    assert "embedded-encoder-conv3d: built, 3 s" in told


def test_when_the_time_is_over_it_says_how_far_each_came() -> None:
    chosen = trials_of(
        "embedded-encoder-conv3d,embedded-decoder-conv3d,embedded-encoder-chunk-tail,"
        "embedded-decoder-chunk-tail"
    )
    writers = Played({"embedded-encoder-conv3d": GRAPH, "embedded-decoder-conv3d": GRAPH})
    builders = Played({})
    made = make(chosen, writers=writers, builders=builders, seconds=0.1, say=lambda line: None)
    assert {one.status for one in made} == {"not reached"}
    assert [one.why for one in made] == [
        "not built: the builder had worked on it for 12 s when 0 s were over",
        "not built: it was waiting for a builder when 0 s were over",
        "not written: the exporter had worked on it for 12 s when 0 s were over",
        "not written: it was not begun when 0 s were over",
    ]
    assert builders.closed


def test_without_a_builder_that_starts_nothing_is_waited_for() -> None:
    builders = Played({})
    builders.unusable = "builder 1 does not start: RuntimeError: no driver"
    writers = Played({})
    [made] = make([ENCODER], writers=writers, builders=builders, seconds=60, say=lambda line: None)
    assert (made.status, made.why) == ("failed", builders.unusable)


def test_graphs_alone() -> None:
    writers = Played({ENCODER.graph: GRAPH})
    [made] = make([ENCODER], writers=writers, builders=None, seconds=60, say=lambda line: None)
    assert (made.status, made.graph) == ("written", GRAPH)
