"""The ring: begins with streams, is bounded in seconds and bytes, gives back what it took."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import FSQ, KL, PER_LATENT, SECOND, WALL, latents, values_of

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.session.ring import Held, Ring
from vidtok_edge.runtime.session.samples import Logged
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Sample, SourceRecords


class Camera:
    """Gives a ring what a camera gives, ten latents a second, a key every so many."""

    def __init__(self, ring: Ring, source: int = 0, key: int = 20) -> None:
        self.records, self._ring, self._key = SourceRecords(source), ring, key
        self._index = 0

    def give(self, at: int) -> None:
        """The latent that was captured at that latent's time."""
        at_ns = at * PER_LATENT
        if not self._index % self._key:
            self._ring.take(self.records.start("key", at_ns, WALL + at_ns))
            self._index = 0
        given = latents(self.records.source, self._index, at=at)
        for record in self.records.encoded(given, encode_start_ns=at_ns, encode_end_ns=at_ns):
            self._ring.take(record)
        self._index += 1
        self._ring.trim(at_ns)

    def mark(self, marker: Marker) -> None:
        self._ring.take(marker)
        self._index = 0


def sample(at_ns: int, size: int = 1) -> Sample:
    return Sample(channel="a", time_ns=at_ns, wall_time_ns=WALL + at_ns, values=np.zeros(size))


def times(held: list[Held]) -> list[int]:
    return [one.capture_time_ns // PER_LATENT for one in held if isinstance(one, LatentRecord)]


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 200))
def test_it_holds_its_seconds_from_a_key_on_and_at_most_a_key_interval_more(
    key: int, seconds: int, count: int
) -> None:
    ring = Ring(FSQ, seconds=seconds / 10, most_bytes=10**9)
    camera = Camera(ring, key=key)
    for at in range(count):
        camera.give(at)
    held = ring.taken()
    assert isinstance(held[0], Marker) and held[0].starts_stream
    found = times(held)
    assert found == list(range(found[0], count)), "nothing is missing"
    assert found[0] <= max(0, count - 1 - seconds) and found[0] > count - 1 - seconds - key
    assert found[0] % key == 0 and ring.bytes == 0 and not ring.taken()


@pytest.mark.parametrize("tokenizer", [FSQ, KL])
def test_what_comes_out_is_what_the_file_would_have(tokenizer: object) -> None:
    ring = Ring(tokenizer, seconds=100, most_bytes=10**9)  # type: ignore[arg-type]
    camera = SourceRecords(3)
    ring.take(camera.start("start", 0, WALL))
    given = latents(3, 0, count=4, last=2, tokenizer=tokenizer)  # type: ignore[arg-type]
    put = list(camera.encoded(given, encode_start_ns=5, encode_end_ns=6))
    for record in put:
        ring.take(record)
    _, *found = ring.taken()
    for one, before in zip(found, put, strict=True):
        assert isinstance(one, LatentRecord)
        assert (one.source, one.stream, one.index, one.first_frame, one.frames_real) == (
            *(before.source, before.stream, before.index, before.first_frame, before.frames_real),
        )
        assert (one.stamp, one.encode_start_ns, one.encode_end_ns) == (before.stamp, 5, 6)
        np.testing.assert_array_equal(one.values, values_of(3, one.index, tokenizer))  # type: ignore[arg-type]


def test_a_latent_that_no_file_would_take_is_refused_at_once() -> None:
    ring = Ring(FSQ, seconds=1, most_bytes=10**9)
    camera = SourceRecords(0)
    ring.take(camera.start("start", 0, WALL))
    [record] = camera.encoded(latents(0, 0, tokenizer=KL), encode_start_ns=0, encode_end_ns=0)
    with pytest.raises(StreamError):
        ring.take(record)


def test_samples_are_held_as_long_as_the_latents_that_they_belong_to() -> None:
    ring = Ring(FSQ, seconds=1, most_bytes=10**9)
    camera = Camera(ring, key=20)
    for at in range(55):
        ring.log(sample(at * PER_LATENT), ["x"], at * PER_LATENT)
        camera.give(at)
    held = ring.taken()
    logged = [one.sample.time_ns // PER_LATENT for one in held if isinstance(one, Logged)]
    assert times(held)[0] == logged[0] == 40, "the key of 4 s; that of 5 s does not exist"
    assert [type(one).__name__ for one in held[:4]] == [
        "Logged",
        "Marker",
        "LatentRecord",
        "Logged",
    ]


def test_a_camera_that_is_gone_holds_nothing_for_ever() -> None:
    ring = Ring(FSQ, seconds=2, most_bytes=10**9)
    one, two = Camera(ring, 0), Camera(ring, 1)
    for at in range(20):
        one.give(at)
        two.give(at)
    two.mark(two.records.lost("unplugged", 20 * PER_LATENT, WALL))
    for at in range(20, 100):
        one.give(at)
    assert {x.source for x in ring.taken() if not isinstance(x, Logged)} == {0}


def test_what_lies_before_a_long_pause_is_not_looked_back_to() -> None:
    ring = Ring(FSQ, seconds=2, most_bytes=10**9)
    camera = Camera(ring)
    for at in range(20):
        camera.give(at)
    camera.mark(camera.records.paused(0, 20 * PER_LATENT, WALL))
    hour = 36_000
    camera.mark(camera.records.paused(9, hour * PER_LATENT, WALL))
    camera.give(hour)
    held = ring.taken()
    assert times(held) == [hour]
    assert [x.kind for x in held if isinstance(x, Marker)] == ["drop", "key"]


def test_its_bytes_are_bounded_and_what_goes_is_the_oldest() -> None:
    ring = Ring(FSQ, seconds=1000, most_bytes=100_000)
    one, two = Camera(ring, 0), Camera(ring, 1)
    for at in range(300):
        one.give(at)
        two.give(at)
        ring.log(sample(at * PER_LATENT, 20), (), at * PER_LATENT)
        ring.trim(at * PER_LATENT)
        assert ring.bytes <= 100_000
    assert ring.cut
    held = ring.taken()
    for source in (0, 1):
        of = [x for x in held if not isinstance(x, Logged) and x.source == source]
        assert isinstance(of[0], Marker) and of[0].starts_stream
    assert times(held)[-1] == 299


def test_a_stream_that_is_too_much_alone_is_held_again_from_the_next_key() -> None:
    ring = Ring(FSQ, seconds=1000, most_bytes=20_000)
    camera = Camera(ring, key=100)
    for at in range(250):
        camera.give(at)
        assert not (held_first := ring._runs[0]) or isinstance(held_first[0].held[0][1], Marker)
    camera = Camera(ring, key=100)
    camera.give(300)
    assert times(ring.taken())[-1] == 300


def test_the_bytes_that_it_says_are_no_less_than_what_it_takes() -> None:
    ring = Ring(FSQ, seconds=1000, most_bytes=10**9)
    camera = Camera(ring)
    camera.give(0)
    tracemalloc.start()
    try:
        before, said = tracemalloc.get_traced_memory()[0], ring.bytes
        for at in range(1, 2000):
            camera.give(at)
            ring.log(sample(at, 7), (), at * SECOND)
        took = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert took <= ring.bytes - said <= 3 * took
