"""What became of samples is counted where it happens, by channel."""

from __future__ import annotations

import numpy as np

from vidtok_edge.runtime.session.samples import (
    GAPS,
    TRIGGERS,
    ChannelCounts,
    Logged,
    SampleTally,
)
from vidtok_edge.runtime.streaming.records import Sample


def sample(*values: float, channel: str = "action", text: str = "") -> Sample:
    content = None if text else np.array(values)
    return Sample(channel=channel, time_ns=0, wall_time_ns=0, values=content, text=text)


def test_numbers_that_are_not_finite_are_counted_among_those_written() -> None:
    tally = SampleTally()
    for value in (np.nan, np.inf, 0):
        tally.write(sample(value, 1))
    tally.write(sample(channel="task", text="open"))
    action, task = tally.counts
    assert (action.samples, action.not_finite) == (3, 2)
    assert (task.samples, task.not_finite) == (1, 0)


def test_what_a_session_logs_itself_is_not_counted() -> None:
    tally = SampleTally()
    for channel in (GAPS, TRIGGERS):
        tally.write(sample(channel=channel, text="{}"))
        tally.no_frame([Logged(sample(channel=channel, text="{}"))])
    assert not tally.counts


def test_counts_are_as_they_were_when_they_were_asked_for() -> None:
    tally = SampleTally()
    tally.take("action")
    before = tally.counts
    tally.take("action")
    tally.pause("action")
    assert before == (ChannelCounts("action", taken=1),)
    assert tally.counts == (ChannelCounts("action", taken=2, paused=1),)


def test_of_two_sessions_each_has_its_own_counts() -> None:
    tally = SampleTally()
    with tally.session():
        tally.take("action")
        tally.write(sample(np.nan))
        assert tally.of_session == tally.counts
    tally.take("action")
    with tally.session():
        tally.write(sample(1))
        tally.take("other")
        assert tally.of_session == (
            ChannelCounts("action", taken=1, samples=1),
            ChannelCounts("other", taken=1),
        )
    assert tally.counts[0] == ChannelCounts("action", taken=2, samples=2, not_finite=1)


def test_names_without_end_are_counted_together() -> None:
    tally = SampleTally()
    for number in range(1100):
        tally.take(f"{number}")
        tally.write(sample(1, channel=f"{number}"))
    tally.refuse("x" * 10_000)
    *first, others = tally.counts
    assert len(first) == 1000 and all(one.taken == one.samples == 1 for one in first)
    assert others == ChannelCounts("others", taken=100, samples=100, refused=1)
