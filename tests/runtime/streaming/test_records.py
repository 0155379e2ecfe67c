"""Records of a source: streams and latents are numbered in one place, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_step import FakeStep, fake_manifest, frame_of
from stamps import span, stamp

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime import Latents, StreamEncoder
from vidtok_edge.runtime.streaming.records import LatentRecord, SourceRecords


def latents(index: int, count: int = 1) -> Latents:
    return Latents(
        slot=0,
        index=index,
        tokens=np.arange(count, dtype=np.int32).reshape(-1, 1, 1),
        mean=None,
        logvar=None,
        spans=tuple(span(4 * (index + i), 4, stamp(index + i)) for i in range(count)),
    )


def encoded(camera: SourceRecords, given: Latents) -> list[LatentRecord]:
    return list(camera.encoded(given, encode_start_ns=5, encode_end_ns=7))


def test_streams_and_latents_are_numbered() -> None:
    camera = SourceRecords(3)
    begun = camera.start("start", 1, 2, fps=30)
    assert (begun.source, begun.stream, begun.index, begun.latents) == (3, 0, 0, 0)
    assert (begun.kind, begun.fps, begun.starts_stream) == ("start", 30, True)
    first, second = encoded(camera, latents(0, 2))
    assert (first.stream, first.index, second.index) == (0, 0, 1)
    assert second.values.tolist() == [[1]]
    assert (second.first_frame, second.frames_real, second.stamps) == (4, 4, 4 * (stamp(1),))
    assert (second.capture_time_ns, second.wall_time_ns) == (1, 1)
    assert (second.encode_start_ns, second.encode_end_ns) == (5, 7)
    drop = camera.drop(2, "continue", 3, 4)
    assert (drop.index, drop.latents, drop.frames, drop.detail) == (2, 2, 2, "continue")
    assert camera.drop(2, "continue", 3, 4, index=5).index == 5
    again = camera.start("key", 5, 6)
    assert (again.stream, again.index, again.latents, again.fps) == (1, 0, 2, 0)
    assert [one.stream for one in encoded(camera, latents(0))] == [1]
    gone, end = camera.lost("unplugged", 7, 8), camera.end("stopped", 9, 10)
    assert (gone.detail, end.detail, end.latents, end.starts_stream) == (
        "unplugged",
        "stopped",
        3,
        False,
    )
    assert (camera.streams, camera.latents) == (2, 3)


def test_before_a_stream_begins_its_number_is_the_first() -> None:
    marker = SourceRecords(0).drop(1, "restart", 0, 0)
    assert (marker.stream, marker.index) == (0, 0)


def test_latents_must_continue_the_stream() -> None:
    camera = SourceRecords(0)
    with pytest.raises(StreamError, match=r"start\(\) a stream before its latent 0"):
        encoded(camera, latents(0))
    camera.start("start", 0, 0)
    encoded(camera, latents(0))
    with pytest.raises(StreamError, match="Latent 2 of source 0 came where 1 was due, in stream 0"):
        encoded(camera, latents(2))
    assert [one.index for one in encoded(camera, latents(1))] == [1]


def test_a_latent_that_was_refused_does_not_count() -> None:
    camera = SourceRecords(0)
    camera.start("start", 0, 0)
    given = camera.encoded(latents(0, 3), encode_start_ns=0, encode_end_ns=0)
    next(given), next(given)  # the second one is refused
    end = camera.end("the disk is full", 0, 0)
    assert (end.index, end.latents) == (1, 1)


@pytest.mark.parametrize("kind", [{}, {"chunk": 3}, {"causal": False, "chunk": 3}])
def test_records_of_an_encoder_have_every_stamp(kind: dict[str, Any]) -> None:
    manifest = fake_manifest(**kind)
    encoder, camera = StreamEncoder(manifest, FakeStep(manifest, "encoder")), SourceRecords(0)
    camera.start("start", 0, 0)
    given = [stamp(v * v, ahead_ns=1000) for v in range(18)]
    results = [r for v, one in enumerate(given) for r in encoder.push(frame_of(v), stamp=one)]
    records = [one for r in [*results, *encoder.finish()] for one in encoded(camera, r)]
    assert [one for record in records for one in record.stamps] == given
    assert [record.first_frame for record in records] == [
        encoder.framing.first_frame(i) for i in range(len(records))
    ]
    assert records[-1].stamp == given[-1]
