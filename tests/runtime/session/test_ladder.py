"""The ladder: what is given up when, and that it is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.session.ladder import Ladder, LadderPlan, Rung

SECOND = 1_000_000_000


def plan(text: str = "int8,half-rate", **times: float) -> LadderPlan:
    return LadderPlan(rungs=LadderPlan.rungs_of(text), **times)


def test_each_step_gives_up_what_those_before_do() -> None:
    assert plan(" int8 , half-rate,quarter-rate").rungs == (
        *(Rung(), Rung("int8"), Rung("int8", 2), Rung("int8", 4)),
    )
    assert [str(rung) for rung in plan().rungs] == ["", "int8", "int8, half-rate"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "A step of the ladder is called ''; allowed: fp32, fp16, int8, half-rate"),
        ("int8,", "A step of the ladder is called ''"),
        ("int8;half-rate", "is called 'int8;half-rate'"),
        ("int8,int8", "has a step that changes nothing"),
        ("half-rate,int8,half-rate", "has a step that changes nothing"),
    ],
)
def test_what_is_no_ladder_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LadderPlan.rungs_of(text)


@pytest.mark.parametrize("times", [{"late_after_s": 0.0}, {"climb_after_s": float("nan")}])
def test_times_that_mean_nothing_are_refused(times: Any) -> None:
    with pytest.raises(UsageError, match="is taken after"):
        plan(**times)


def test_down_after_so_long_and_up_after_so_long() -> None:
    ladder = Ladder(plan(late_after_s=2, climb_after_s=5))
    steps = []
    for tenth in range(300):
        then = ladder.look(tenth * SECOND // 10, behind=tenth < 75)
        if then is not None:
            steps.append((tenth, str(then), ladder.went_down))
    assert steps == [
        (20, "int8", True),
        (41, "int8, half-rate", True),  # counted anew from the first look that follows
        (124, "int8", False),
        (174, "", False),
    ]


def test_a_moment_is_no_reason() -> None:
    """Behind for less than two seconds, again and again; well for less than five."""
    ladder = Ladder(plan(late_after_s=2, climb_after_s=5))
    for tenth in range(1000):
        assert ladder.look(tenth * SECOND // 10, behind=tenth % 35 < 19) is None


def test_a_queue_that_is_full_and_empty_in_turn_is_behind() -> None:
    ladder = Ladder(plan(late_after_s=2, climb_after_s=5))
    steps = [ladder.look(tenth * SECOND // 10, behind=tenth % 5 == 0) for tenth in range(100)]
    assert [str(step) for step in steps if step is not None] == ["int8", "int8, half-rate"]


@given(st.lists(st.tuples(st.integers(0, 3 * SECOND), st.booleans()), max_size=200))
def test_it_never_leaves_its_rungs_and_never_moves_early(looks: list[tuple[int, bool]]) -> None:
    ladder = Ladder(plan(late_after_s=2, climb_after_s=5))
    rungs = plan().rungs
    now = moved = 0
    for after, behind in looks:
        now += after
        before = rungs.index(ladder.rung)
        then = ladder.look(now, behind=behind)
        assert ladder.rung in rungs
        if then is not None:
            assert rungs.index(then) == before + (1 if behind else -1)
            assert now - moved >= (2 if behind else 5) * SECOND
            moved = now
