"""Many streams in one batch: none disturbs another, and none is held up for too long."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from fake_step import FakeStep, fake_manifest, frame_of, tokens_from
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.errors import StreamError, UsageError
from vidtok_edge.runtime import Bundle, StreamEncoder
from vidtok_edge.runtime.streaming.batching import Batching
from vidtok_edge.runtime.streaming.latents import Latents

SLOTS = 3


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def batching(
    wait_s: float | None = None, *, streams: int = SLOTS, chunk: int = 1, causal: bool = True
) -> tuple[Batching, FakeStep, Time]:
    step = FakeStep(fake_manifest(streams=streams, chunk=chunk, causal=causal), "encoder")
    time_ = Time()
    return Batching(StreamEncoder(step.manifest, step), wait_s, time_), step, time_


# --- when it runs -----------------------------------------------------------------------------


def test_a_full_batch_runs_at_once() -> None:
    batch, step, _ = batching(10.0)
    for slot in range(SLOTS):  # the first frame of a stream is its first latent
        ready = batch.push(frame_of(slot), slot=slot)
    assert step.runs[:1] == [[0]], "while nobody else had begun"
    assert [r.slot for r in ready] == []
    assert batch.due_in_s() == 10.0


def joined(wait_s: float | None) -> tuple[Batching, FakeStep, Time]:
    """Three streams that all have given their first latent."""
    batch, step, time_ = batching(wait_s)
    for slot in range(SLOTS):
        batch.push(frame_of(slot), slot=slot)
    batch.run_pending()
    step.runs.clear()
    return batch, step, time_


def chunk_of(batch: Batching, slot: int) -> list[Latents]:
    return [r for value in range(4) for r in batch.push(frame_of(value), slot=slot)]


def test_a_complete_chunk_waits_for_the_others_and_no_longer() -> None:
    batch, step, time_ = joined(0.02)
    assert chunk_of(batch, 0) == [] and batch.due_in_s() == 0.02
    time_.ns += 5_000_000
    assert chunk_of(batch, 2) == [] and batch.due_in_s() == 0.015, "the oldest one counts"
    time_.ns += 14_000_000
    assert batch.run_due() == [] and step.runs == []
    time_.ns += 1_000_000
    assert batch.due_in_s() == 0
    assert [r.slot for r in batch.run_due()] == [0, 2] and step.runs == [[0, 2]]
    assert batch.due_in_s() is None and batch.run_due() == []


def test_a_wait_that_is_over_is_seen_by_the_next_push() -> None:
    batch, step, time_ = joined(0.02)
    chunk_of(batch, 0)
    time_.ns += 30_000_000
    assert [r.slot for r in batch.push(frame_of(0), slot=1)] == [0] and step.runs == [[0]]


def test_a_batch_that_fills_up_does_not_wait() -> None:
    batch, step, _ = joined(0.02)
    chunk_of(batch, 0)
    chunk_of(batch, 1)
    assert [r.slot for r in chunk_of(batch, 2)] == [0, 1, 2]
    assert step.runs == [[0, 1, 2]] and batch.due_in_s() is None


def test_without_a_limit_it_waits_for_the_next_frame_only() -> None:
    batch, step, time_ = joined(None)
    chunk_of(batch, 0)
    time_.ns += 10**12
    assert batch.due_in_s() is None and batch.run_due() == []
    assert [r.slot for r in batch.push(frame_of(0), slot=0)] == [0] and step.runs == [[0]]


def test_a_wait_of_zero_is_none() -> None:
    batch, step, _ = joined(0)
    for slot in (1, 0, 2):
        assert [r.slot for r in chunk_of(batch, slot)] == [slot]
    assert step.runs == [[1], [0], [2]]


def test_a_new_wait_starts_with_a_new_chunk() -> None:
    batch, _, time_ = joined(0.02)
    chunk_of(batch, 0)
    time_.ns += 20_000_000
    batch.run_due()
    time_.ns += 7_000_000
    chunk_of(batch, 0)
    assert batch.due_in_s() == 0.02


def test_leaving_frees_the_others() -> None:
    batch, step, _ = joined(0.02)
    chunk_of(batch, 0)
    chunk_of(batch, 1)
    assert [r.slot for r in batch.finish(2)] == [0, 1], "they waited for nobody else"
    assert step.runs == [[0, 1]] and batch.encoder.pending == ()
    assert batch.due_in_s() is None


def test_a_wait_is_no_negative_number() -> None:
    with pytest.raises(UsageError, match="wait for a batch is -1"):
        batching(-1)


def test_nothing_runs_after_close() -> None:
    batch, _, _ = joined(0)
    batch.encoder.close()
    with pytest.raises(StreamError, match="closed"):
        batch.encoder.run_pending()


# --- what a stream gives does not depend on the others ----------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.integers(0, SLOTS - 1),
        st.sampled_from(["push"] * 12 + ["finish", "wait", "run"]),
        st.integers(0, 60_000),
    ),
    max_size=120,
)


@given(
    actions=ACTIONS,
    wait_s=st.sampled_from([None, 0, 0.005]),
    chunk=st.integers(1, 3),
    causal=st.booleans(),
)
def test_streams_do_not_disturb_each_other(
    actions: list[tuple[int, str, int]], wait_s: float | None, chunk: int, causal: bool
) -> None:
    """Joining, leaving, pausing, other rates: each stream gives what it would give alone."""
    batch, _, time_ = batching(wait_s, chunk=chunk, causal=causal)
    given_frames: dict[int, list[int]] = defaultdict(list)
    got: dict[int, list[int]] = defaultdict(list)

    def take(results: list[Latents]) -> None:
        for latents in results:
            assert latents.index == len(got[latents.slot])
            assert latents.tokens is not None
            got[latents.slot] += latents.tokens.ravel().tolist()

    def finish(slot: int) -> None:
        take(batch.finish(slot))
        expected = tokens_from(given_frames[slot], batch.encoder.manifest)
        if not causal:  # a window is given whole
            got[slot] = got[slot][: len(expected)]
        assert got[slot] == expected
        given_frames[slot].clear()
        got[slot].clear()

    for slot, action, value in actions:
        if action == "push":
            given_frames[slot].append(value)
            take(batch.push(frame_of(value), slot=slot))
        elif action == "finish":
            finish(slot)
        elif action == "wait":
            time_.ns += value * 100
            take(batch.run_due())
        else:
            take(batch.run_pending())
    for slot in range(SLOTS):
        finish(slot)


def test_a_graph_gives_a_slot_the_same_bits_in_any_company(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    rng = np.random.default_rng(0)
    own = rng.integers(0, 256, (23, 16, 16, 3), np.uint8)
    others = rng.integers(0, 256, (40, 16, 16, 3), np.uint8)

    def slot_0(rate: float, leaves_at: int | None) -> bytes:
        """Slot 0's tokens, while slot 1 gets `rate` frames for each of its own."""
        with bundle.encoder() as encoder:
            batch = Batching(encoder, 0.001)
            results, credit, used = [], 0.0, 0
            for number, frame in enumerate(own):
                credit += rate
                while credit >= 1:
                    results += batch.push(others[used], slot=1)
                    credit, used = credit - 1, used + 1
                if number == leaves_at:
                    results += batch.finish(1)
                results += batch.push(frame, slot=0)
            results += batch.finish(0)
        return b"".join(r.tokens.tobytes() for r in results if r.slot == 0 and r.tokens is not None)

    alone = slot_0(0, None)
    assert len(alone) == 7 * 4 * 4  # int32
    for rate in (0.3, 1, 1.7):
        for leaves_at in (None, 9):
            assert slot_0(rate, leaves_at) == alone
