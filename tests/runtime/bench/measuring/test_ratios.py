"""When a ratio may be called a difference, and how often that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from fake_step import fake_manifest

from vidtok_edge.runtime.bench.figures import StartUp
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.ratios import (
    METRICS,
    ratio_of,
    ratios_of,
    rounds_needed,
    sign_test,
)
from vidtok_edge.runtime.bench.measuring.runs import Measured
from vidtok_edge.runtime.bench.measuring.turn import Turn


def verdict(values: list[float], candidates: int = 2) -> str:
    return ratio_of(
        values, candidates=candidates, candidate="b", against="a", metric="median latency"
    ).verdict


def turns(*times: float) -> list[Turn]:
    """Each with one latent, and as busy as it took."""
    return [
        Turn(
            started=0.0,
            backend="",
            fell_back="",
            graphs=[],
            start_up=StartUp(process_ms=0, load_ms=0, open_ms=0, first_token_ms=0),
            measured=Measured(
                latency_ns=[[round(t)]],
                ready_ns=[[0]],
                picture_latency_ns=[[]],
                frames=4,
                busy_ns=round(t),
            ),
            peak_device_mb=None,
        )
        for t in times
    ]


def entry(name: str, *times: float) -> Entry:
    return Entry(Candidate(f"/{name}", "cpu", "fp32"), fake_manifest(), turns(*times))


def test_ratios_compare_the_turns_of_one_round() -> None:
    """The machine gets slower from round to round; in each of them b takes half as long."""
    times = [1000.0 * 2**i for i in range(7)]
    latency, busy = ratios_of([entry("a", *times), entry("b", *(t / 2 for t in times))])
    assert (latency.median, latency.low, latency.high, latency.verdict) == (2, 2, 2, "faster")
    assert (busy.metric, busy.median, busy.faster) == ("busy time per frame", 2, 7)
    assert (latency.candidate, latency.against) == ("b cpu fp32", "a cpu fp32")


def test_rounds_that_only_one_of_two_ran_are_not_compared() -> None:
    latency, _ = ratios_of([entry("a", *[1000.0] * 9), entry("b", *[500.0] * 7)])
    assert (latency.rounds, latency.verdict) == (7, "faster")


@pytest.mark.parametrize("candidates", [2, 3, 5, 9, 40])
def test_the_default_rounds_can_tell_a_difference_and_one_less_cannot(candidates: int) -> None:
    rounds = rounds_needed(candidates)
    assert verdict([1.1] * rounds, candidates) == "faster"
    assert verdict([0.9] * rounds, candidates) == "slower"
    assert verdict([1.1] * (rounds - 1), candidates) == f"too few rounds ({rounds} needed)"
    level = 0.05 / (2 * (candidates - 1))
    assert sign_test(rounds, 0) <= level < sign_test(rounds - 1, 0)


def test_one_disturbed_round_of_twenty_hides_nothing() -> None:
    assert verdict([1.2] * 19 + [0.3]) == "faster"
    assert verdict([1.2] * 6 + [0.3]) == "inside the noise", "of seven it might"


def test_what_is_equal_is_inside_the_noise() -> None:
    assert verdict([1.0] * 20) == "inside the noise"


@pytest.mark.parametrize("candidates", [2, 3, 5])
def test_the_same_thing_against_itself_is_rarely_told_apart(candidates: int) -> None:
    """At most one run in 20 may call anything faster or slower, whatever the noise is like."""
    random, wrong, runs = np.random.default_rng(0), 0, 1500
    rounds = rounds_needed(candidates)
    for _ in range(runs):
        times = np.exp(random.standard_t(2, (candidates, len(METRICS), rounds)))  # heavy tails
        ratios = (times[0] / times[1:]).reshape(-1, rounds)
        wrong += any(verdict(r.tolist(), candidates) in ("faster", "slower") for r in ratios)
    assert 0.005 < wrong / runs <= 0.05
