"""replay: the frames that were encoded, whole or in part, with restarts and gaps."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from fake_step import FakeStep, fake_manifest, frame_of, picture_content, pictures_from, tokens_from
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stamps import stamp

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.clips.token_files import TokenFile
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.exporting import CONTENTS, export_recording
from vidtok_edge.runtime.recording.exports.inputs import Inputs
from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest, RowPictures
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import Playback, PlayedFrame, frame_rate
from vidtok_edge.runtime.session.replay import replay
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.records import SourceRecords, StartReason

FRAME = 25_000_000  # ns: 40 frames per second
WALL = 1_700_000_000_000_000_000


class FakeBundle(Bundle):
    """A bundle whose steps are `FakeStep`s."""

    def decoder(self, *_: Any, **__: Any) -> StreamDecoder:
        return StreamDecoder(self.manifest, FakeStep(self.manifest, "decoder"))


def bundle_of(manifest: Manifest) -> FakeBundle:
    return FakeBundle(Path("fake"), manifest)


def record_streams(
    path: Path,
    manifest: Manifest,
    lengths: Sequence[int],
    *,
    leave_out: Sequence[int] = (),
    fps: float | None = None,
    frame_ns: int = FRAME,
    times_ns: Sequence[int] = (),
    every: Sequence[int] = (),
    name: str = "cam",
) -> list[list[int]]:
    """Frames 0, 1, 2, … in streams of `lengths`; `leave_out`: chunks of the file to break.

    They are captured every `frame_ns`, or at `times_ns`. `every`: in each stream, of so many frames
    one was encoded.

    Returns the frames of each stream.
    """
    tokenizer = Tokenizer.of(bundle_of(manifest))
    encoder = StreamEncoder(manifest, FakeStep(manifest, "encoder"))
    number, streams = 0, []
    times_ns = times_ns or range(0, (sum(lengths) + 1) * frame_ns, frame_ns)
    camera = SourceRecords(0)
    with RecordingWriter(path, tokenizer, [name], flush_interval_s=1000) as writer:

        def write(results: Sequence[Any]) -> None:
            for latents in results:
                for one in camera.encoded(latents, encode_start_ns=0, encode_end_ns=0):
                    writer.take(one)
                writer.flush()

        for stream, length in enumerate(lengths):
            at = times_ns[number]
            one_of = every[stream] if every else 1
            reason: StartReason = "key" if stream else "start"
            writer.take(camera.start(reason, at, WALL + at, fps=fps, every=one_of))
            streams.append(list(range(number, number + length)))
            for value in streams[-1]:
                write(encoder.push(frame_of(value), stamp=stamp(times_ns[value], WALL)))
            write(encoder.finish())
            number += length
        writer.take(camera.end("end", times_ns[-1], WALL + times_ns[-1]))
    data = bytearray(path.read_bytes())
    with Recording.open(path) as recording:
        for chunk in leave_out:
            data[recording.chunks[chunk].offset + 60] ^= 255
    path.write_bytes(data)
    return streams


def played(
    path: Path,
    manifest: Manifest,
    start: float | None = None,
    end: float | None = None,
    fps: float = 40,
) -> tuple[list[PlayedFrame], Playback]:
    with Recording.open(path) as recording, bundle_of(manifest).decoder() as decoder:
        playback = Playback(
            recording=recording, decoder=decoder, source=0, fps=fps, start_s=start, end_s=end
        )
        return list(playback), playback


def expected(streams: Sequence[Sequence[int]], manifest: Manifest) -> list[tuple[int, int]]:
    return [
        picture
        for stream in streams
        for picture in pictures_from(tokens_from(stream, manifest), len(stream), manifest)
    ]


def contents(frames: Sequence[PlayedFrame]) -> list[tuple[int, int]]:
    return [picture_content(frame.pixels) for frame in frames]


KINDS: list[dict[str, Any]] = [
    {},
    {"version": "1.0"},
    {"f": 8, "chunk": 2},
    {"causal": False, "chunk": 4},
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_of_every_stream_comes_back(tmp_path: Path, kind: dict[str, Any]) -> None:
    manifest = fake_manifest(**kind)
    streams = record_streams(tmp_path / "a.mcap", manifest, [18, 1, 33])
    frames, playback = played(tmp_path / "a.mcap", manifest)
    assert contents(frames) == expected(streams, manifest)
    times = [frame.time_s for frame in frames]
    np.testing.assert_allclose(times, np.arange(52) / 40, atol=1e-6)
    assert (playback.streams, playback.broken) == (3, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 0.3), (0.5, 0.9), (0.625, 10), (0.4, None), (None, 0.025)]
)
def test_a_part_is_what_the_whole_has_there(
    tmp_path: Path, kind: dict[str, Any], start: float | None, end: float | None
) -> None:
    manifest = fake_manifest(**kind)
    record_streams(tmp_path / "a.mcap", manifest, [18, 20, 14])
    whole, _ = played(tmp_path / "a.mcap", manifest)
    part, playback = played(tmp_path / "a.mcap", manifest, start, end)
    inside = [f for f in whole if (start or 0) - 1e-9 <= f.time_s < (end or 99) - 1e-9]
    assert contents(part) == contents(inside) and part
    assert playback.streams <= 2 or start in (None, 0.0, 0.4)


def flat(frames: Sequence[PlayedFrame]) -> list[tuple[float, tuple[int, int]]]:
    return [(frame.time_s, picture_content(frame.pixels)) for frame in frames]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_part_is_a_run_of_the_whole_whenever_frames_were_captured(
    tmp_path: Path, data: st.DataObject
) -> None:
    """At once, as from a file that is read as fast as it goes, or with pauses."""
    lengths = data.draw(st.lists(st.integers(1, 36), min_size=1, max_size=3))
    steps = data.draw(
        st.lists(
            st.sampled_from([0, 1, 1000, 1_000_000, FRAME, 10 * FRAME]),
            min_size=sum(lengths),
            max_size=sum(lengths),
        )
    )
    times_ns = [0, *accumulate(steps)]
    manifest, path = fake_manifest(**data.draw(st.sampled_from(KINDS))), tmp_path / "a.mcap"
    path.unlink(missing_ok=True)
    record_streams(path, manifest, lengths, times_ns=times_ns)
    fps = data.draw(st.sampled_from([1, 40, 1000]))
    whole = flat(played(path, manifest, fps=fps)[0])
    assert len(whole) == sum(lengths)
    times = [time for time, _ in whole]
    assert times == sorted(times) and times[0] >= 0
    bounds = st.none() | st.sampled_from(times_ns).map(lambda ns: ns / 1e9)
    start, end = data.draw(bounds), data.draw(bounds)
    part = flat(played(path, manifest, start, end, fps)[0])
    low, high = 0.0 if start is None else start, float("inf") if end is None else end
    assert all(low - 1e-9 <= time < high for time, _ in part)
    assert len(part) >= sum(low < time < high for time in times)
    assert part in [whole[i : i + len(part)] for i in range(len(whole) + 1)]


def test_a_part_begins_decoding_at_the_last_start_before_it(tmp_path: Path) -> None:
    manifest = fake_manifest()
    record_streams(tmp_path / "a.mcap", manifest, [16] * 6)
    _, playback = played(tmp_path / "a.mcap", manifest, 2.1)  # in the last stream, 80 to 95
    assert playback.streams == 1


def test_after_missing_latents_decoding_begins_anew(tmp_path: Path) -> None:
    """Latents 3 and 4 of a stream of 9 are lost; the next stream is not touched by it."""
    manifest = fake_manifest()
    streams = record_streams(tmp_path / "a.mcap", manifest, [33, 9], leave_out=[3, 4])
    frames, playback = played(tmp_path / "a.mcap", manifest)
    assert (playback.streams, playback.broken) == (3, 1)
    tokens = tokens_from(streams[0], manifest)
    before = pictures_from(tokens[:3], 9, manifest)
    after = pictures_from(tokens[5:], 1 + 3 * 4, manifest)  # latent 5 stands for its last frame
    assert contents(frames) == before + after + expected(streams[1:], manifest)
    times = [round(frame.time_s * 40) for frame in frames]
    assert times == [*range(9), *range(20, 33), *range(33, 42)]


def test_half_a_window_is_not_decoded(tmp_path: Path) -> None:
    manifest = fake_manifest(causal=False, chunk=4)
    record_streams(tmp_path / "a.mcap", manifest, [48], leave_out=[1])
    frames, playback = played(tmp_path / "a.mcap", manifest)
    assert [round(frame.time_s * 40) for frame in frames] == [*range(16), *range(32, 48)]
    assert playback.broken == 1


@pytest.mark.parametrize(
    ("name", "announced", "frame_ns", "fps"),
    [
        ("cam", None, 25_000_000, 40),
        ("cam", 30.0, 33_366_700, 30.0),
        ("cam", 30.0, 66_666_667, 15),
        ("cam", 30.0, 1_000_000, 30.0),  # a file, read as fast as it goes
        ("clip.mp4", 30.0, 66_666_667, 30.0),
        ("/dev/shm/clip.mp4", 30.0, 66_666_667, 30.0),
        ("/dev/v4l/by-id/cam.0", 30.0, 66_666_667, 15),
    ],
)
def test_the_rate_is_what_timestamps_and_source_say(
    tmp_path: Path, name: str, announced: float | None, frame_ns: int, fps: float
) -> None:
    path = tmp_path / "a.mcap"
    record_streams(path, fake_manifest(), [40, 30], fps=announced, frame_ns=frame_ns, name=name)
    with Recording.open(path) as recording:
        assert frame_rate(recording, 0) == pytest.approx(fps, rel=1e-6)


@pytest.mark.parametrize("start", [None, 1.0, 2.5])
def test_frames_of_a_reduced_rate_have_their_own_times(tmp_path: Path, start: float | None) -> None:
    path, manifest = tmp_path / "a.mcap", fake_manifest()
    lengths, every = [41, 41, 13], [1, 3, 1]
    times_ns = [0]
    for length, one_of in zip(lengths, every, strict=True):
        times_ns += [times_ns[-1] + one_of * FRAME * (n + 1) for n in range(length)]
    record_streams(path, manifest, lengths, fps=40, times_ns=times_ns, every=every)
    with Recording.open(path) as recording:
        assert frame_rate(recording, 0) == pytest.approx(40)
    frames, _ = played(path, manifest, start)
    wanted = [at / 1e9 for at in times_ns[:-1] if at / 1e9 >= (start or 0)]
    assert [frame.time_s for frame in frames] == pytest.approx(wanted, abs=1e-6)


def test_replay_to_standard_output_is_raw_rgb(tmp_path: Path) -> None:
    manifest = fake_manifest()
    streams = record_streams(tmp_path / "a.mcap", manifest, [10])
    output, ticks = io.BytesIO(), list[int]()
    done = replay(
        tmp_path / "a.mcap", bundle_of(manifest), output, progress=lambda n, total: ticks.append(n)
    )
    raw: NDArray[np.uint8] = np.frombuffer(output.getvalue(), np.uint8).reshape(-1, 8, 8, 3)
    assert [picture_content(frame) for frame in raw] == expected(streams, manifest)
    assert (done.frames, done.fps, done.broken) == (10, 40, 0) and ticks == list(range(1, 11))


def test_the_rate_of_the_clip_changes_no_part(tmp_path: Path) -> None:
    manifest, contents_at = fake_manifest(), []
    record_streams(tmp_path / "a.mcap", manifest, [40])
    for fps in (None, 1, 1000):
        output = io.BytesIO()
        done = replay(
            tmp_path / "a.mcap", bundle_of(manifest), output, start_s=0.33, end_s=0.7, fps=fps
        )
        assert done.fps == (fps or 40)
        contents_at.append(output.getvalue())
    assert contents_at[0] == contents_at[1] == contents_at[2] and contents_at[0]


def test_replay_to_a_clip(tmp_path: Path) -> None:
    manifest = replace(fake_manifest())
    record_streams(tmp_path / "a.mcap", manifest, [10])
    done = replay(tmp_path / "a.mcap", bundle_of(manifest), tmp_path / "a.mp4", start_s=0.1)
    assert done.frames == 6 and (tmp_path / "a.mp4").stat().st_size


def test_a_recording_that_was_cut_off_is_said_to_be(tmp_path: Path) -> None:
    path, manifest = tmp_path / "a.mcap", fake_manifest()
    record_streams(path, manifest, [33])
    with Recording.open(path) as recording:
        end = recording.chunks[-1].offset
    for size, end_s, cut_off in ((-1, None, False), (end, None, True), (end, 0.2, False)):
        (tmp_path / "cut.mcap").write_bytes(path.read_bytes()[:size])
        done = replay(tmp_path / "cut.mcap", bundle_of(manifest), io.BytesIO(), end_s=end_s)
        assert done.cut_off is cut_off


Change = Literal["weights", "variant", "size"]


def test_another_window_is_refused(tmp_path: Path) -> None:
    record_streams(tmp_path / "a.mcap", fake_manifest(causal=False, chunk=4), [16])
    other = bundle_of(fake_manifest(causal=False, chunk=2))
    with pytest.raises(RecordingError, match="differ in window"):
        replay(tmp_path / "a.mcap", other, io.BytesIO())


@pytest.mark.parametrize("change", ["weights", "variant", "size"])
def test_another_tokenizer_is_refused_and_both_are_named(tmp_path: Path, change: Change) -> None:
    manifest = fake_manifest()
    record_streams(tmp_path / "a.mcap", manifest, [5])
    other = {
        "weights": replace(manifest, weights=replace(manifest.weights, sha256="beef" * 16)),
        "variant": replace(manifest, model=replace(manifest.model, variant="other")),
        "size": replace(manifest, width=16),
    }[change]
    names = {"weights": "beefbeefbeef", "variant": "the bundle is other", "size": "8x16"}
    with pytest.raises(RecordingError, match="written by fake, weights unknown, 8x8") as error:
        replay(tmp_path / "a.mcap", bundle_of(other), io.BytesIO())
    assert names[change] in str(error.value)


def test_what_cannot_be_replayed_is_refused(tmp_path: Path) -> None:
    path, manifest = tmp_path / "a.mcap", fake_manifest()
    record_streams(path, manifest, [5])
    bundle = bundle_of(manifest)
    with pytest.raises(RecordingError, match="no source 1"):
        replay(path, bundle, io.BytesIO(), source=1)
    with pytest.raises(RecordingError, match=r"its last one is at 0\.1 s\. Choose"):
        replay(path, bundle, io.BytesIO(), start_s=7)
    with pytest.raises(UsageError, match="is empty"):
        replay(path, bundle, io.BytesIO(), start_s=2, end_s=1)
    for name in ("start_s", "end_s", "fps"):
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(UsageError, match="allowed"):
                replay(path, bundle, io.BytesIO(), **{name: value})  # type: ignore[arg-type]
    for fps in (0, -5, 0.001, 1001):
        with pytest.raises(UsageError, match=r"allowed: 0.01 to 1000"):
            replay(path, bundle, io.BytesIO(), fps=fps)
    with pytest.raises(UsageError, match="--io float"):
        replay(path, bundle_of(replace(manifest, io="float")), io.BytesIO())


def test_exports_say_what_was_encoded_at_a_reduced_rate(tmp_path: Path) -> None:
    path, tokenizer = tmp_path / "a.mcap", Tokenizer.of(bundle_of(fake_manifest()))
    encoder = StreamEncoder(fake_manifest(), FakeStep(fake_manifest(), "encoder"))
    camera, at = SourceRecords(0), 0
    with RecordingWriter(path, tokenizer, ["cam"]) as writer:
        for reason, every, words in (("start", 1, ""), ("restart", 2, "int8, half-rate")):
            given_up = {"every": every, "given_up": words}
            writer.take(camera.start(reason, at, WALL + at, fps=40, **given_up))  # type: ignore[arg-type]
            results = []
            for value in range(41):
                results += encoder.push(frame_of(value), stamp=stamp(at, WALL + at))
                at += every * FRAME
            for latents in [*results, *encoder.finish()]:
                for one in camera.encoded(latents, encode_start_ns=at, encode_end_ns=at):
                    writer.take(one)
        writer.take(camera.end("end", at, WALL + at))
    done = export_recording(path, tmp_path / "set", "npz")
    assert done.given_up == {"int8, half-rate": 1} and done.episodes == 2
    told = json.loads((tmp_path / "set" / CONTENTS).read_text())
    assert told["sources"]["0"]["given_up"] == {"int8, half-rate": 1}
    assert [e["fps"] for e in told["episodes"]] == [pytest.approx(40), pytest.approx(20)]
    assert [set(e["every"]) for e in told["episodes"]] == [{1}, {2}]
    for episode in told["episodes"]:
        meta = TokenFile.load(tmp_path / "set" / episode["file"]).meta
        assert meta is not None and meta.fps == episode["fps"]


@pytest.mark.parametrize(
    "kind",
    [{}, {"version": "1.0"}, {"f": 8}, {"chunk": 3}, {"causal": False, "chunk": 2}],
)
@pytest.mark.parametrize("start_s", [None, 0.0, 0.3, 0.85])
def test_a_row_shows_the_last_frame_of_its_latent(
    tmp_path: Path, kind: dict[str, Any], start_s: float | None
) -> None:
    """Of several streams, the last latent of each in part; of two recordings, one decoder."""
    manifest, path = fake_manifest(**kind), tmp_path / "a.mcap"
    streams = record_streams(path, manifest, [21, 10, 12], fps=40)
    whole = [pictures_from(tokens_from(one, manifest), len(one), manifest) for one in streams]
    inputs = Inputs(
        paths=[path, path],
        source=None,
        start_s=start_s,
        end_s=None,
        gaps="split",
        data=DataRequest(),
    )
    rows = padding = 0
    with RowPictures(inputs, PictureRequest(bundle=bundle_of(manifest))) as pictures:
        for episode in inputs:
            for row in episode.rows:
                latent = row.latent
                last = latent.first_frame + latent.frames_real - 1
                padding += latent.frames_real == 0
                last = min(last, len(streams[latent.stream]) - 1)
                found = picture_content(pictures.of(episode, row))
                assert found == whole[latent.stream][last], (latent.stream, latent.index)
                rows += 1
    assert rows >= 4 and len(inputs.told) == 2
    assert bool(padding) == (not manifest.model.causal)
