"""How many cameras keep up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vidtok_edge.runtime.bench.document import CandidateResult, Document
from vidtok_edge.runtime.bench.showing.knee import knees_of


def measured(cameras: int | None, misses: int = 0, lost: int = 0, name: str = "a cpu") -> Any:
    suffix = f" {cameras} camera(s)" if cameras else ""
    latency = SimpleNamespace(misses=misses, n=60)
    figures = SimpleNamespace(
        keeps_up=not misses and not lost, latency=latency, dropped=lost, unfinished=0
    )
    one = SimpleNamespace(name=name + suffix, cameras=cameras, figures=figures)
    return cast(CandidateResult, one)


def knees(*candidates: CandidateResult, fps: float | None = 30.0) -> list[str]:
    settings = SimpleNamespace(pace=SimpleNamespace(fps=fps))
    return knees_of(cast(Document, SimpleNamespace(settings=settings, candidates=candidates)))


@pytest.mark.parametrize(
    ("results", "kept", "why"),
    [
        ([measured(1), measured(2), measured(4, 9)], 2, "4 missed 9 of 60 deadlines."),
        ([measured(4, 9), measured(1), measured(2)], 2, "4 missed 9 of 60 deadlines."),
        ([measured(1, 3), measured(2)], 0, "1 missed 3 of 60 deadlines."),
        ([measured(1), measured(2, 0, 5)], 1, "2 missed 0 of 60 deadlines and lost 5 frames."),
    ],
)
def test_a_number_counts_where_all_smaller_ones_keep_up(
    results: list[CandidateResult], kept: int, why: str
) -> None:
    assert knees(*results) == [f"a cpu: {kept} camera(s) at 30 frames/s without a miss; {why}"]


def test_a_knee_that_was_not_reached_is_said_to_be_so() -> None:
    [said] = knees(measured(1), measured(2))
    assert said == "a cpu: 2 camera(s) at 30 frames/s without a miss, the most that were tried."


def test_each_way_has_its_own() -> None:
    found = knees(measured(1), measured(2), *(measured(n, n, name="b int8") for n in (1, 2)))
    assert [said.partition(":")[0] for said in found] == ["a cpu", "b int8"]


def test_there_is_none_without_a_pace_or_several_numbers() -> None:
    assert knees(measured(1), measured(2), fps=None) == []
    assert knees(measured(1), measured(None)) == []
