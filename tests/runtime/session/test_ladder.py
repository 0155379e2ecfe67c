"""The ladder: what is given up when, and that it is taken back."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from fake_session import WALL, FakeCaptures, captured, ended, opened, session
from fake_sink import MS, FakeSink
from fake_sources import FakeClock, frame
from fake_step import FakeStep, fake_manifest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime import StreamEncoder
from vidtok_edge.runtime.session.ladder import Ladder, LadderPlan, Rung
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.session.summary import RecordSummary
from vidtok_edge.runtime.sources import Captured, Dropped, Event, Opened

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
        ("quarter-rate,half-rate", "goes from quarter-rate up to half-rate"),
        ("third-rate,int8,half-rate", "goes from int8, third-rate up to int8, half-rate"),
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


def late_session(
    waits: list[float],
    ladder: str,
    *,
    can_be_late: bool = True,
    control: Any = None,
    **times: float,
) -> tuple[RecordSummary, FakeSink, list[str], dict[str, list[Any]]]:
    """A camera of 30 frames per second; each frame waited for so long before it was taken."""
    said: list[str] = []
    runs: dict[str, list[Any]] = {"fp32": [], "int8": []}
    time_ = FakeClock(ns=0)

    def at(number: int) -> None:
        time_.ns = max(time_.ns, round(number * 1e9 / 30 + waits[number] * 1e9))

    events: list[Event] = [Opened(0, 0, WALL, 30, can_be_late)]
    for number in range(len(waits)):
        one = frame(number, time_ns=round(number * 1e9 / 30))
        events.append(Captured(0, one.capture_time_ns, one.wall_time_ns, one))
    captures = FakeCaptures(
        *events, ended(), at={number + 1: partial(at, number) for number in range(len(waits))}
    )
    steps = {name: FakeStep(fake_manifest(), "encoder", runs=runs[name]) for name in runs}
    sink = FakeSink()
    recorder = Recorder(
        captures,  # type: ignore[arg-type]
        StreamEncoder(steps["fp32"].manifest, steps["fp32"]),
        [sink],
        ["cam"],
        RecordOptions(ladder=LadderPlan(rungs=LadderPlan.rungs_of(ladder), **times)),
        spare={"int8": StreamEncoder(steps["int8"].manifest, steps["int8"])},
        clock=time_.clock,
        notice=said.append,
        control=control,
    )
    return recorder.run(), sink, said, runs


def test_a_ladder_is_taken_down_at_keys_and_climbed_again() -> None:
    waits = [*[0.01] * 30, *[0.5] * 150, *[0.01] * 400]
    done, sink, said, runs = late_session(waits, "int8,half-rate", late_after_s=2, climb_after_s=5)
    starts = [marker for marker in sink.markers if marker.starts_stream]
    assert [(m.kind, m.every, m.detail) for m in starts] == [
        ("start", 1, ""),
        ("key", 1, "int8"),
        ("restart", 2, "int8, half-rate"),
        ("restart", 1, "int8"),
        ("key", 1, ""),
    ]
    assert said == [
        "encoding is late: int8",
        "encoding is late: int8, half-rate",
        "encoding keeps up: int8",
        "encoding keeps up: as asked for",
    ]
    assert all(runs.values()), "both encoders had their share"
    [source] = done.sources
    thinned = source.frames_thinned
    assert thinned > 0 and source.frames_encoded + thinned == len(waits) == source.frames_captured
    assert (done.steps, done.given_up, source.frames_dropped) == (4, "", 0)
    # At half the rate every second frame is encoded, and each keeps its time.
    of = [latent for latent in sink.latents if latent.stream == 2]
    times = [round(one.capture_time_ns * 30 / 1e9) for x in of for one in x.stamps]
    assert {b - a for a, b in pairwise(times)} == {2}
    numbers = [round(one.capture_time_ns * 30 / 1e9) for x in sink.latents for one in x.stamps]
    assert numbers == sorted(set(numbers)), "none comes twice"


def test_what_waits_for_the_encoder_is_never_late_and_that_is_said() -> None:
    done, sink, said, _ = late_session([0.5] * 300, "half-rate", can_be_late=False)
    assert done.steps == 0 and len(sink.markers) == 2
    assert len(said) == 1 and "--queue drop-oldest" in said[0]


def test_a_short_hold_up_is_no_reason() -> None:
    waits = [0.5 if number % 105 < 45 else 0.01 for number in range(1050)]
    done, _, said, _ = late_session(waits, "half-rate")
    assert (done.steps, said) == (0, [])


def test_dropped_frames_are_late_too() -> None:
    time_ = FakeClock(ns=0)
    events: list[Event] = [opened()]
    for number in range(100):
        events += [*captured(number), Dropped(0, number * MS, WALL, 1)]
    at = {number: partial(time_.pass_s, 0.05) for number in range(1, 200)}
    recorder, sink = session(
        FakeCaptures(*events, ended(), at=at),
        clock=time_.clock,
        ladder=LadderPlan(rungs=LadderPlan.rungs_of("third-rate")),
    )
    assert recorder.run().given_up == "third-rate"
    assert [marker.every for marker in sink.markers if marker.starts_stream] == [1, 3]
