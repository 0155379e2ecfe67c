"""Calls that run while the next chunk is filled: the same results, later."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_step import FakeStep, fake_manifest, frame_of
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.errors import StreamError, UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.arrays import DeviceArray
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder

ACTS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["push"] * 8 + ["finish", "reset", "run"])),
    max_size=60,
)


def encoded(plan: list[tuple[int, str]], depth: int, streams: int = 2) -> dict[int, list[Any]]:
    """What each slot got: index, tokens and frames of each latent; `reset` where one was."""
    manifest = fake_manifest(streams=streams)
    found: dict[int, list[Any]] = {slot: [] for slot in range(streams)}

    def keep(results: list[Any]) -> None:
        for it in results:
            frames = [[stamp.capture_time_ns for stamp in span.stamps] for span in it.spans]
            found[it.slot].append((it.index, it.values.tobytes(), frames))

    with StreamEncoder(manifest, FakeStep(manifest, "encoder"), depth=depth) as encoder:
        for number, (slot, act) in enumerate(plan):
            if act == "push":
                keep(encoder.push(frame_of(number % 7), slot=slot, capture_time_ns=number))
            elif act == "finish":
                keep(encoder.finish(slot))
            elif act == "run":
                keep(encoder.run_pending())
            else:
                keep(encoder.run_pending())  # what is under way for a slot that is reset is lost
                encoder.reset(slot)
                found[slot].append("reset")
        for slot in range(streams):
            keep(encoder.finish(slot))
    return found


@given(ACTS)
def test_a_depth_of_two_gives_the_latents_of_one(plan: list[tuple[int, str]]) -> None:
    # A `reset` takes what is complete first in both, so that the same is lost.
    assert encoded(plan, 2) == encoded(plan, 1)


@given(st.lists(st.integers(0, 30), max_size=12))
def test_a_depth_of_two_gives_the_pictures_of_one(tokens: list[int]) -> None:
    manifest = fake_manifest()
    shape = (1, *manifest.graph("decoder").host_inputs[0].shape[2:])

    def decoded(depth: int) -> list[tuple[int, bytes]]:
        with StreamDecoder(manifest, FakeStep(manifest, "decoder"), depth) as decoder:
            found = []
            for token in tokens:
                found += decoder.push_values(np.full(shape, token, np.int32))
            found += decoder.finish()
        return [(picture.frame, picture.pixels.tobytes()) for picture in found]

    assert decoded(2) == decoded(1)


def test_a_reset_drops_what_is_under_way_of_its_slot_alone() -> None:
    manifest = fake_manifest(streams=2)
    go = threading.Event()
    go.set()
    step = FakeStep(manifest, "encoder", before_run=go.wait)
    with StreamEncoder(manifest, step, depth=2) as encoder:
        first = encoder.push(frame_of(1), slot=0) + encoder.run_pending()
        assert [it.slot for it in first] == [0]
        go.clear()
        assert not encoder.push(frame_of(2), slot=1), "its chunk is complete, and waits for slot 0"
        for _ in range(4):
            assert not encoder.push(frame_of(3), slot=0), "nobody waits for the call of both"
        go.set()
        encoder.reset(0)
        assert [(it.slot, it.index) for it in encoder.run_pending()] == [(1, 0)]


def test_push_does_not_wait_and_results_come_when_they_are_there() -> None:
    manifest = fake_manifest()
    go, done = threading.Event(), threading.Event()
    step = FakeStep(manifest, "encoder", before_run=go.wait)
    run = step.run

    def noted() -> None:
        run()
        done.set()

    step.run = noted  # type: ignore[method-assign]
    with StreamEncoder(manifest, step, depth=2) as encoder:
        assert encoder.push(frame_of(1)) == [] and encoder.calls == 0
        assert encoder.push(frame_of(2)) == [], "the next chunk is filled meanwhile"
        go.set()
        done.wait(10)
        while not (results := encoder.push(frame_of(3))):
            pass  # the thread has run, and is about to say so
        assert results[0].index == 0


def test_a_call_that_fails_is_told_by_a_later_push() -> None:
    manifest = fake_manifest()
    step = FakeStep(manifest, "encoder", fail_after=0)
    encoder = StreamEncoder(manifest, step, depth=2)
    encoder.push(frame_of(1))
    with pytest.raises(RuntimeError, match="the device was lost"):
        encoder.run_pending()
    assert step.closed == 1
    with pytest.raises(StreamError, match="closed"):
        encoder.push(frame_of(2))
    encoder.close()


def test_onnx_runtime_runs_beside_the_next_chunk(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    frames = np.random.default_rng(1).integers(0, 256, (23, 16, 16, 3), np.uint8)

    def tokens(depth: int) -> list[bytes]:
        with bundle.encoder("cpu", depth=depth) as encoder:
            found = [it for frame in frames for it in encoder.push(frame)] + encoder.finish()
        return [it.values.tobytes() for it in found]

    assert tokens(2) == tokens(1)


def test_what_does_not_go_together(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    with pytest.raises(UsageError, match="Leave out depth, or tokens_on"):
        bundle.encoder("cpu", depth=2, tokens_on="device")
    for opened in (bundle.encoder, bundle.decoder):
        with pytest.raises(UsageError, match="depth is 3; use 1, or 2"):
            opened("cpu", depth=3)
    frame = DeviceArray(address=4096, shape=(16, 16, 3), dtype=np.dtype(np.uint8))
    with bundle.encoder("cpu", depth=2) as encoder, pytest.raises(StreamError, match="is on GPU 0"):
        encoder.push(frame)
