"""What triggers, and plans that mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.trigger import TriggerPlan, TriggerWhen
from vidtok_edge.runtime.session.triggered_file import require_room
from vidtok_edge.runtime.streaming.records import Sample

NAN = float("nan")


def sample(*values: float, text: str | None = None) -> Sample:
    content = None if text is not None else np.array(values, np.float64)
    return Sample(channel="a", time_ns=0, wall_time_ns=0, values=content, text=text or "")


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("a>0.5", [1], True),
        ("a>0.5", [0.5], False),
        (" a >= .5 ", [0.5], True),
        ("a[1]<-3e1", [0, -31], True),
        ("a[1]<=-30", [0, -30], True),
        ("a==1", [1], True),
        ("a!=1", [1], False),
        ("a!=1", [2], True),
        ("a!=1", [NAN], False),
        ("a<1", [NAN], False),
        ("a[2]<1", [0, 0], False),
    ],
)
def test_comparisons(text: str, values: list[float], holds: bool) -> None:
    assert TriggerWhen.parse(text).holds(sample(*values)) is holds


def test_an_event_compares_as_false() -> None:
    assert not TriggerWhen.parse("a!=1").holds(sample(text="1"))


@pytest.mark.parametrize(
    "text", ["", "a", "a>", ">1", "a=1", "a>b", "a[x]>1", "a[-1]>1", "a>1e999", "a>1.2.3", "a>1 b"]
)
def test_what_is_no_comparison_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no comparison\. Write a channel"):
        TriggerWhen.parse(text)


@given(st.text(alphabet="ab/[]0123456789.<>=!-+eE ", max_size=20))
def test_whatever_is_read_is_said_again(text: str) -> None:
    try:
        when = TriggerWhen.parse(text)
    except UsageError:
        return
    again = TriggerWhen.parse(str(when))
    assert (again.channel, again.place, again.sign) == (when.channel, when.place, when.sign)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"before_s": -1}, "The time before a trigger is -1 s; allowed: 0 to 3600"),
        ({"after_s": NAN}, "The time after a trigger is nan s"),
        ({"ring_bytes": 5}, "The ring has 5 bytes; allowed: 100000 or more"),
    ],
)
def test_plans_that_mean_nothing(plan: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TriggerPlan(**plan)


def test_a_part_has_room_for_what_an_event_begins_with() -> None:
    trigger = TriggerPlan(before_s=10, ring_bytes=10**6)
    require_room(PartsPlan(events=True, split_s=40, split_bytes=2 * 10**6), trigger, 10)
    with pytest.raises(UsageError, match="A part lasts 39 s, and an event begins with up to 20 s"):
        require_room(PartsPlan(events=True, split_s=39), trigger, 10)
    with pytest.raises(UsageError, match="A part has 1999999 bytes"):
        require_room(PartsPlan(events=True, split_bytes=1_999_999), trigger, 10)
