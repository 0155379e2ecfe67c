"""Framing against the rules of docs/streaming.md, section 2, counted the slow way."""

from __future__ import annotations

from itertools import pairwise

from fake_step import fake_manifest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.streaming.framing import Framing

framings = st.builds(
    Framing, st.sampled_from([1, 2, 4, 8]), causal=st.booleans(), delayed=st.just(False)
) | st.builds(Framing, st.sampled_from([2, 4, 8]), causal=st.just(True), delayed=st.just(True))


@given(framings, st.integers(0, 200))
def test_latents_are_as_many_as_the_frames_need(framing: Framing, frames: int) -> None:
    n = framing.latents(frames)
    assert framing.first_frame(n) >= frames
    assert n == 0 or framing.first_frame(n - 1) < frames


@given(framings)
def test_latents_share_out_the_frames_without_a_gap(framing: Framing) -> None:
    shares = [framing.share(i) for i in range(20)]
    assert [share.start for share in shares] == [framing.first_frame(i) for i in range(20)]
    assert shares[0].start == 0 and all(a.stop == b.start for a, b in pairwise(shares))
    assert [len(share) for share in shares[1:]] == [framing.time_factor] * 19
    assert len(shares[0]) == (1 if framing.causal else framing.time_factor)


@given(framings, st.integers(0, 100))
def test_the_real_frames_of_all_latents_are_those_of_the_stream(
    framing: Framing, frames: int
) -> None:
    count = framing.latents(frames)
    assert [n for i in range(count) for n in framing.share(i, frames)] == list(range(frames))
    assert len(framing.share(count, frames)) == 0


@given(framings, st.integers(1, 20))
def test_outputs_are_every_frame_once_in_order(framing: Framing, latents: int) -> None:
    f = framing.time_factor
    raw = latents * f + (f - 1 if framing.delayed and latents > 1 else 0)  # the end call
    frames = [n for n in map(framing.frame_of_output, range(raw)) if n is not None]
    assert frames == list(range(framing.first_frame(latents)))


def test_delayed_outputs_as_the_document_lists_them() -> None:
    """Drop 0 .. f-2, keep f-1, drop f .. 2f-2, keep the rest (docs/streaming.md, section 5.4)."""
    framing = Framing(8, causal=True, delayed=True)
    kept = [raw for raw in range(40) if framing.frame_of_output(raw) is not None]
    assert kept == [7, *range(15, 40)]


def test_of_a_model() -> None:
    assert Framing.of(fake_manifest(f=8, version="1.1").model) == Framing(8, True, True)
    assert Framing.of(fake_manifest(version="1.0").model) == Framing(4, True, False)
    assert Framing.of(fake_manifest(causal=False).model) == Framing(4, False, False)
    assert (Framing(4, True, False).lead_in, Framing(4, False, False).lead_in) == (4, 1)
