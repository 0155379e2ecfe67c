"""The streaming encoder over a step in numpy: whatever comes in, each stream is as if alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from any_model import kinds, quick, sizes
from fake_step import FakeStep, fake_manifest, frame_of, tokens_from
from hypothesis import given
from hypothesis import strategies as st
from stamps import stamp

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime import Latents, StreamEncoder
from vidtok_edge.runtime.manifest.manifest import Manifest


def opened(manifest: Manifest, fail_after: int | None = None) -> tuple[StreamEncoder, FakeStep]:
    step = FakeStep(manifest, "encoder", fail_after)
    return StreamEncoder(manifest, step), step


def values_of(latents: list[Latents]) -> list[int]:
    return [int(v) for part in latents for v in part.values.reshape(-1)]


@dataclass
class Stream:
    """What one stream was given and gave back."""

    values: list[int] = field(default_factory=list)
    results: list[Latents] = field(default_factory=list)

    def check(self, manifest: Manifest, whole: bool) -> None:
        """Contiguous, and what the stream would have given alone; `whole`: nothing is missing."""
        expected = tokens_from(self.values, manifest) if self.values else []
        framing = StreamEncoder(manifest, FakeStep(manifest, "encoder")).framing
        index = frames = 0
        for part in self.results:
            assert (part.index, part.first_frame) == (index, frames)
            assert 1 <= len(part) <= manifest.chunk
            lasts = [
                min(framing.first_frame(i + 1), len(self.values)) - 1
                for i in range(index, index + len(part))
            ]
            assert part.capture_time_ns.tolist() == [self.values[i] * 1000 for i in lasts]
            index, frames = index + len(part), frames + part.frames_real
            assert frames == lasts[-1] + 1
        got = values_of(self.results)
        assert got == (expected if whole else expected[: len(got)])
        if whole:
            assert frames == len(self.values)


@quick
@given(kinds, sizes, st.integers(0, 40), st.sampled_from(["fsq", "kl"]))
def test_a_stream_of_any_length(kind: Any, size: tuple[int, int], frames: int, latent: Any) -> None:
    manifest = fake_manifest(f=size[0], chunk=size[1], latent=latent, **kind)
    encoder, _ = opened(manifest)
    stream = Stream()
    with encoder:
        for _ in range(2):  # the second stream knows nothing of the first
            stream = Stream(list(range(frames)))
            for value in stream.values:
                stream.results += encoder.push(frame_of(value), capture_time_ns=value * 1000)
            stream.results += encoder.finish()
            stream.check(manifest, whole=True)
    for part in stream.results:
        assert (part.tokens is None, part.mean is None) == (latent == "kl", latent == "fsq")
        assert part.logvar is None or (part.logvar == -part.values).all()


@quick
@given(
    kinds,
    sizes,
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("pppppppppfr")), max_size=150),
)
def test_interleaved_streams_are_as_if_alone(
    kind: Any, size: tuple[int, int], streams: int, steps: list[tuple[int, str]]
) -> None:
    f, chunk = size
    manifest = fake_manifest(f=f, chunk=chunk, streams=streams, **kind)
    encoder, _ = opened(manifest)
    now = [Stream() for _ in range(streams)]

    def take(results: list[Latents]) -> None:
        for part in results:
            now[part.slot].results.append(part)

    for count, (number, what) in enumerate(steps + [(i, "f") for i in range(streams)]):
        slot = number % streams
        if what == "p":
            fed = len(now[slot].values) + (f - 1 if now[slot].values and kind["causal"] else 0)
            now[slot].values.append(count)
            take(encoder.push(frame_of(count), slot=slot, capture_time_ns=count * 1000))
            due = fed // (f * chunk) * chunk  # complete before this frame came
            assert sum(map(len, now[slot].results)) >= due, "held back for more than one frame"
            continue
        if what == "f":
            take(encoder.finish(slot))
        else:
            encoder.reset(slot)
        now[slot].check(manifest, whole=what == "f")
        now[slot] = Stream()


def test_one_slot_is_not_held_back_by_a_paused_one() -> None:
    manifest = fake_manifest(streams=2)
    encoder, step = opened(manifest)
    assert [r.slot for r in encoder.push(frame_of(1), slot=0)] == [0]
    assert encoder.push(frame_of(1), slot=1) == []  # waits for slot 0, but not for long
    assert [r.slot for r in encoder.push(frame_of(1), slot=1)] == [1]
    for _ in range(4):  # slot 1 pauses
        assert encoder.push(frame_of(2), slot=0) == []
    [late] = encoder.push(frame_of(3), slot=0)
    assert (late.slot, late.first_frame, late.frames_real) == (0, 1, 4)
    assert step.runs == [[0], [1], [0]]


def test_the_clock_where_no_time_is_given() -> None:
    encoder, _ = opened(fake_manifest())
    before = time.monotonic_ns()
    [latents] = encoder.push(frame_of(1))
    assert before <= latents.capture_time_ns[0] <= time.monotonic_ns()
    assert repr(latents) == "Latents(slot=0, index=0, n=1, frames=0..0, shape=[1, 1, 1])"


@pytest.mark.parametrize("latent", ["fsq", "kl"])
@pytest.mark.parametrize("kind", [{"chunk": 3}, {"causal": False, "version": "1.0", "chunk": 3}])
def test_each_latent_knows_its_frames(latent: Any, kind: Any) -> None:
    encoder, _ = opened(fake_manifest(latent=latent, **kind))
    given = [stamp(v * v, 10**18) for v in range(18)]
    results = [r for v, one in enumerate(given) for r in encoder.push(frame_of(v), stamp=one)]
    results += encoder.finish()
    each = [one for part in results for one in part]
    assert [one.index for one in each] == list(range(len(each)))
    assert [one for latent in each for one in latent.stamps] == given
    for one in each:
        share = encoder.framing.share(one.index, len(given))
        assert one.first_frame == encoder.framing.first_frame(one.index)
        assert one.frames_real == len(share) and list(one.stamps) == given[share.start : share.stop]
        assert one.stamp == (one.stamps or given)[-1]
        assert one.values.shape == ((1, 1) if latent == "fsq" else (1, 1, 1))
        assert (one.logvar is None) == (latent == "fsq")
    for part in results:
        assert part.capture_time_ns.tolist() == [one.stamp.capture_time_ns for one in part]
        assert part.frames_real == sum(one.frames_real for one in part)
        assert part.values.tolist() == [one.values.tolist() for one in part]


def test_a_capture_time_has_the_wall_time_of_that_moment() -> None:
    encoder, _ = opened(fake_manifest())
    ahead_ns = time.time_ns() - time.monotonic_ns()
    [latents] = encoder.push(frame_of(1), capture_time_ns=123)
    [latent] = latents
    assert latent.stamp.capture_time_ns == 123
    assert abs(latent.stamp.wall_time_ns - 123 - ahead_ns) < 1e9


def test_a_stamp_and_another_time_are_refused() -> None:
    encoder, _ = opened(fake_manifest())
    with pytest.raises(StreamError, match="Give one of them"):
        encoder.push(frame_of(1), capture_time_ns=1, stamp=stamp(2))
    assert len(encoder.push(frame_of(1))) == 1, "the stream is as it was"


@pytest.mark.parametrize("given", [1_700_000_000.5, "1", np.float64(1)])
def test_a_capture_time_that_is_no_whole_number_is_refused(given: Any) -> None:
    """Seconds would be taken for nanoseconds, cut off to whole ones."""
    encoder, _ = opened(fake_manifest())
    with pytest.raises(StreamError, match=r"capture time is .*; allowed: whole nanoseconds"):
        encoder.push(frame_of(1), capture_time_ns=given)
    [latents] = encoder.push(frame_of(1), capture_time_ns=np.int64(7))  # type: ignore[arg-type]
    assert latents.capture_time_ns.tolist() == [7], "the stream is as it was"


def test_a_view_of_any_strides() -> None:
    encoder, _ = opened(fake_manifest())
    other, _ = opened(fake_manifest())
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    wide = np.repeat(noise[::-1], 2, axis=1)[:, ::2, ::-1]
    assert not wide.flags.c_contiguous
    view, copy = encoder.push(wide), other.push(np.ascontiguousarray(wide))
    assert values_of(view) == values_of(copy)


def test_results_are_the_callers_own() -> None:
    encoder, _ = opened(fake_manifest())
    [first] = encoder.push(frame_of(1))
    kept = first.values.copy()
    for i in range(4):
        encoder.push(frame_of(i))
    assert (first.values == kept).all()


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (
            np.zeros((8, 9, 3), np.uint8),
            r"is uint8 \[8, 9, 3\]; .*takes uint8 \[8, 8, 3\] \(--s",
        ),
        (np.zeros((8, 9, 3), np.uint8), "Resize the frame, or export a bundle"),
        (np.zeros((8, 8, 3), np.float32), r"is float32 \[8, 8, 3\]; .* to uint8, values from 0"),
        (np.zeros((3, 8, 8), np.uint8), r"is uint8 \[3, 8, 8\]; .* as \[height, width, 3\], RGB"),
        (np.zeros((8, 8), np.uint8), r"is uint8 \[8, 8\]; .* as \[height, width, 3\], RGB"),
        ([[1]], "Frame 0 of slot 0 is of type list"),
        (None, "Frame 0 of slot 0 is of type NoneType"),
    ],
)
def test_a_frame_that_does_not_fit(frame: Any, sentence: str) -> None:
    encoder, _ = opened(fake_manifest())
    with pytest.raises(StreamError, match=sentence):
        encoder.push(frame)
    assert len(encoder.push(frame_of(1))) == 1, "the stream is as it was"
    with pytest.raises(StreamError, match=r"Frame 1 of slot 0 is (of type|.* keeps its size)"):
        encoder.push(frame)


@pytest.mark.parametrize("slot", [-1, 2])
def test_no_such_slot(slot: int) -> None:
    encoder, _ = opened(fake_manifest(streams=2))
    for call in (encoder.finish, encoder.reset, lambda s: encoder.push(frame_of(0), slot=s)):
        with pytest.raises(StreamError, match=f"no slot {slot}: .*--streams 2, slots 0 to 1"):
            call(slot)
