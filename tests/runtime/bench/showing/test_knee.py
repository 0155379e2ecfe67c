"""How many cameras are followed, told from a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.runtime.bench.candidate_result import CandidateResult
from vidtok_edge.runtime.bench.document import Document
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.documents import document_of
from vidtok_edge.runtime.bench.measuring.matrix import run_matrix
from vidtok_edge.runtime.bench.measuring.turn import Turn, run_turn
from vidtok_edge.runtime.bench.settings import Pace, Settings
from vidtok_edge.runtime.bench.showing.knee import knees_of
from vidtok_edge.runtime.bench.showing.tables import tables_of


@pytest.fixture(scope="module")
def done(tiny_original: Path) -> Document:
    def run(candidate: Candidate, settings: Settings, progress: Any) -> Turn:
        return run_turn(candidate, settings, 0)

    settings = Settings(Pace(200.0), seconds=0.1, warmup_s=0.0)
    return document_of(
        run_matrix([Candidate(str(tiny_original), "cpu", "fp32")], settings, run=run)
    )


def with_cameras(done: Document, kept: Mapping[int, bool], **changes: Any) -> Document:
    """The candidate with each number of cameras, and whether it kept up."""
    [one] = done.candidates
    candidates = [camera_result(one, number, keeps_up) for number, keeps_up in kept.items()]
    return replace(done, candidates=tuple(candidates), histogram=None, **changes)


def camera_result(one: CandidateResult, streams: int, keeps_up: bool) -> CandidateResult:
    figures = replace(one.figures, keeps_up=keeps_up)
    return replace(one, name=f"b{streams}", streams=streams, figures=figures)


@pytest.mark.parametrize(
    ("kept", "most"),
    [
        ({1: True, 2: True, 4: False}, 2),
        ({4: False, 2: True, 1: True}, 2),
        ({1: True, 8: True}, 8),
        ({1: False, 2: False}, None),
        ({1: True, 2: False, 4: True}, 1),
        ({1: False, 2: True}, None),
    ],
)
def test_the_most_cameras_lie_below_the_first_that_miss(
    done: Document, kept: dict[int, bool], most: int | None
) -> None:
    [knee] = knees_of(with_cameras(done, kept))
    assert knee.most == most
    assert {*knee.kept_up} == {n for n, good in kept.items() if good}
    assert sorted([*knee.kept_up, *knee.missed]) == sorted(kept)


def test_only_what_differs_in_cameras_alone_is_compared(done: Document) -> None:
    both = with_cameras(done, {1: True, 2: True})
    one, two = both.candidates
    assert knees_of(done) == [] and knees_of(replace(both, candidates=(one, one))) == []
    others = replace(two, backend="another"), replace(two, compile_mode="reduce-overhead")
    for other in others:
        assert knees_of(replace(both, candidates=(one, other))) == []
    saturated = replace(both, settings=replace(both.settings, pace=Pace(None)))
    assert knees_of(saturated) == []


def test_the_table(done: Document) -> None:
    document = with_cameras(done, {1: True, 2: True, 4: False})
    [table] = [table for table in tables_of(document) if table.title == "Cameras"]
    assert table.rows[1][1:] == ("1, 2", "4", "2")
    assert "Cameras of 200 frames/s" in table.note
    assert "Cameras" not in [table.title for table in tables_of(done)]
