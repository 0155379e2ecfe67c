"""Sources to a recording on disk, through a graph that runs: what is refused, written, left."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import make_clip
from fake_sources import FakeSource

from vidtok_edge.errors import BundleError, OutputExists, SourceError, SourceLost, UsageError
from vidtok_edge.runtime.backends.onnxruntime import OnnxRuntimeStep
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.recording import Recording, RecordingWriter, Tokenizer
from vidtok_edge.runtime.session import record as record_module
from vidtok_edge.runtime.session import request as request_module
from vidtok_edge.runtime.session.ladder import LadderPlan
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.sources import ArraySource, Captures, RawFormat
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker


@pytest.fixture
def bundle(tiny: Path) -> Bundle:
    return Bundle.load(tiny)


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    return [
        str(make_clip(tmp_path / f"{n}.mkv", rng.integers(0, 256, (n, 16, 16, 3), np.uint8)))
        for n in (14, 23)
    ]


def request(bundle: Bundle, sources: list[str], output: Path, **options: Any) -> RecordRequest:
    return RecordRequest(bundle=bundle, sources=tuple(sources), output=output, **options)


def entries(path: Path, source: int) -> tuple[list[str], list[bytes]]:
    """Kinds of the markers of a source, and its tokens."""
    with Recording.open(path) as recording:
        assert recording.indexed and not recording.damage
        found = list(recording.entries(source))
    kinds: list[str] = [e.kind for e in found if isinstance(e, Marker)]
    return kinds, [e.values.tobytes() for e in found if isinstance(e, LatentRecord)]


def encoded(bundle: Bundle, clip: str) -> list[bytes]:
    """The tokens of a clip, encoded alone."""
    with bundle.encoder() as encoder, ClipReader(clip, size=(16, 16)) as reader:
        results = [r for frame in reader for r in encoder.push(frame.pixels)]
        results += encoder.finish()
    return [value.tobytes() for r in results for value in r.values]


@pytest.mark.parametrize("realtime", [False, True])
def test_two_clips(bundle: Bundle, clips: list[str], tmp_path: Path, realtime: bool) -> None:
    path = tmp_path / "out.mcap"
    done = record(request(bundle, clips, path, realtime=realtime))
    for source, clip in enumerate(clips):
        assert entries(path, source) == (["start", "end"], encoded(bundle, clip))
    assert [s.frames_encoded for s in done.sources] == [14, 23]
    assert done.bytes_written == path.stat().st_size
    assert (done.seconds > 22 / 30) == realtime
    if realtime:
        assert done.sources[1].seconds == pytest.approx(22 / 30, abs=0.002)


def test_a_slot_more_than_sources(bundle: Bundle, clips: list[str], tmp_path: Path) -> None:
    record(request(bundle, clips[:1], tmp_path / "out.mcap"))
    assert entries(tmp_path / "out.mcap", 0)[1] == encoded(bundle, clips[0])


def test_a_source_that_does_not_open_leaves_no_file_and_harms_none(
    bundle: Bundle, clips: list[str], tmp_path: Path
) -> None:
    old = tmp_path / "old.mcap"
    old.write_bytes(b"precious")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no clip")
    for path in (old, tmp_path / "new.mcap"):
        with pytest.raises(SourceError, match=r"broken\.mp4"):
            record(request(bundle, [clips[0], str(broken)], path, force=True))
    assert old.read_bytes() == b"precious" and not (tmp_path / "new.mcap").exists()


def test_a_queue_holds_two_chunks(bundle: Bundle) -> None:
    wide = replace(bundle.manifest, chunk=4)
    for manifest, capacity, expected in (
        (bundle.manifest, None, 8),
        (wide, None, 32),
        (wide, 3, 3),
    ):
        asked = request(Bundle(bundle.path, manifest), [], Path(), capacity=capacity)
        assert asked.queue_capacity == expected


@pytest.mark.parametrize(
    ("sources", "options", "error", "message"),
    [
        (["synthetic", "synthetic:1", "synthetic:2"], {}, UsageError, "2 slots.*--streams 3"),
        ([], {}, UsageError, "--streams 1"),
        (["rtsp://me:secret@h/1"] * 2, {}, UsageError, "twice: rtsp://h/1, rtsp://h/1"),
        (["synthetic"], {"raw": RawFormat(8, 8)}, UsageError, "no source is one"),
        (["synthetic"], {"fps": 30.0}, UsageError, "--fps is for files"),
        (["nowhere.mp4"], {}, SourceError, "nowhere.mp4 cannot be opened"),
        (["synthetic"], {"precision": "int8"}, BundleError, "int8"),
        (["synthetic"], {"capacity": 0}, UsageError, "capacity is 0"),
    ],
)
def test_what_is_refused_before_anything_is_written(
    bundle: Bundle, tmp_path: Path, sources: list[str], options: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        record(request(bundle, sources, tmp_path / "out.mcap", **options))
    assert not (tmp_path / "out.mcap").exists()


def test_an_output_that_exists(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "out.mcap").touch()
    with pytest.raises(OutputExists):
        record(request(bundle, ["synthetic"], tmp_path / "out.mcap"))


def test_a_clip_is_not_recorded_over_also_with_force(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("a clip")
    with pytest.raises(UsageError, match=r"Name it .*out\.mcap"):
        record(request(bundle, ["synthetic"], tmp_path / "out.mp4", force=True))
    assert (tmp_path / "out.mp4").read_text() == "a clip"


def test_a_bundle_of_floats_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    floats = Bundle(bundle.path, replace(bundle.manifest, io="float"))
    with pytest.raises(UsageError, match="--io uint8"):
        request(floats, ["synthetic"], tmp_path / "out.mcap").check()


def test_a_step_that_raises_leaves_a_finished_file(
    bundle: Bundle, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = OnnxRuntimeStep.run, iter(range(1000))

    def fails(step: OnnxRuntimeStep) -> None:
        if next(calls) == 5:
            raise RuntimeError("the device was lost")
        run(step)

    monkeypatch.setattr(OnnxRuntimeStep, "run", fails)
    path = tmp_path / "out.mcap"
    with pytest.raises(RuntimeError, match="the device was lost"):
        record(request(bundle, clips[1:], path))
    whole = encoded(bundle, clips[1])
    kinds, tokens = entries(path, 0)
    assert kinds == ["start", "end"] and len(tokens) == 4 and tokens == whole[:4]


def test_the_duration(bundle: Bundle, tmp_path: Path) -> None:
    options = RecordOptions(duration_s=0.2)
    done = record(request(bundle, ["synthetic:50"], tmp_path / "a.mcap", options=options))
    assert 0.15 <= done.sources[0].seconds <= 2


def test_the_stop(bundle: Bundle, tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_what_records() -> None:
        while not any(tmp_path.glob("*a.mcap*")):
            time.sleep(0.01)
        stop.set()

    threading.Thread(target=stop_what_records, daemon=True).start()
    record(request(bundle, ["synthetic:50"], tmp_path / "a.mcap"), stop=stop)
    assert entries(tmp_path / "a.mcap", 0)[0] == ["start", "end"]


def test_a_stop_before_all_sources_are_open_leaves_an_older_recording(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stop, hang = tmp_path / "old.mcap", threading.Event(), threading.Event()
    path.write_bytes(b"precious")
    monkeypatch.setattr(request_module, "open_source", lambda *_, **__: hang.wait(10))
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    done = record(request(bundle, ["synthetic"], path, force=True), stop=stop)
    hang.set()
    assert time.monotonic() - began < 5, "Ctrl-C does not wait for a camera that hangs"
    assert path.read_bytes() == b"precious" and not done.bytes_written


LIVE = partial(FakeSource, live=True)
NO_FRAMES: dict[str, tuple[Any, str]] = {
    "ends at once": (lambda: FakeSource([]), "gave no frame"),
    "camera that ends at once": (lambda: LIVE([]), "gave no frame"),
    "camera that is lost at once": (lambda: LIVE([SourceLost("gone")]), r"gave no frame in \d"),
    "camera that gives nothing": (lambda: LIVE([threading.Event()]), r"gave no frame in \d"),
    "first frame is damaged": (lambda: FakeSource([SourceError("half a frame")]), "half a frame"),
}


@pytest.mark.parametrize("kind", NO_FRAMES)
def test_without_a_frame_there_is_no_file_and_an_older_one_is_left(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source, message = NO_FRAMES[kind]
    monkeypatch.setattr(request_module, "open_source", lambda *_, **__: source())
    old, options = tmp_path / "old.mcap", RecordOptions(duration_s=0.2)
    old.write_bytes(b"precious")
    for path in (old, tmp_path / "new.mcap"):
        with pytest.raises(SourceError, match=message):
            record(request(bundle, ["synthetic"], path, options=options, force=True))
    assert old.read_bytes() == b"precious" and not (tmp_path / "new.mcap").exists()


def test_a_stop_before_the_first_frame_is_no_error(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    monkeypatch.setattr(request_module, "open_source", lambda *_, **__: LIVE([threading.Event()]))
    threading.Timer(0.2, stop.set).start()
    done = record(request(bundle, ["synthetic"], tmp_path / "a.mcap"), stop=stop)
    assert done and not done.bytes_written and not (tmp_path / "a.mcap").exists()


def test_a_source_is_not_recorded_over(bundle: Bundle, clips: list[str], tmp_path: Path) -> None:
    (tmp_path / "link.mcap").hardlink_to(clips[0])
    for path in (Path(clips[0]), tmp_path / "link.mcap"):
        with pytest.raises(UsageError, match="is read here, and stays as it is"):
            record(request(bundle, clips, path, force=True))
    assert encoded(bundle, clips[0])
    actions = tmp_path / "actions.jsonl"
    actions.write_text('{"channel": "action", "values": 1}\n')
    with pytest.raises(UsageError, match="is read here, and stays as it is"):
        record(request(bundle, clips, actions, force=True, data=(str(actions),)))
    assert actions.read_text().startswith('{"channel"')


def test_options_are_for_the_sources_that_they_fit(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        request_module, "open_source", lambda spec, size, **options: given.update({spec: options})
    )
    os.mkfifo(tmp_path / "pipe")
    pipe = str(tmp_path / "pipe")
    asked = request(
        bundle, [pipe, "synthetic:30"], tmp_path / "out.mcap", fps=10.0, raw=RawFormat(8, 8)
    )
    asked.check()
    for spec in asked.sources:
        asked.opener(spec)
    assert (given[pipe]["fps"], given[pipe]["raw"]) == (10.0, RawFormat(8, 8))
    assert (given["synthetic:30"]["fps"], given["synthetic:30"]["raw"]) == (None, None)


@pytest.mark.parametrize("policy", [None, "block", "drop-oldest", "drop-newest"])
def test_the_queue_is_as_asked(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Any
) -> None:
    given: dict[str, Any] = {}

    def captures(openers: Any, **options: Any) -> Captures:
        given.update(options)
        return Captures(openers, **options)

    monkeypatch.setattr(record_module, "Captures", captures)
    on_drop: Any = "restart" if policy == "drop-oldest" else "continue"
    options = RecordOptions(duration_s=0.05, on_drop=on_drop)
    record(
        request(
            bundle,
            ["synthetic:50"],
            tmp_path / "out.mcap",
            policy=policy,
            capacity=5,
            options=options,
        )
    )
    in_runs = on_drop == "restart"
    assert given == {"policy": policy, "capacity": 5, "realtime": False, "in_runs": in_runs}


@pytest.mark.parametrize("policy", ["block", "drop-oldest", "drop-newest"])
def test_a_minute_with_a_step_that_is_too_slow(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Any
) -> None:
    """1800 frames, a second's 30 at once: each is in the recording, or a marker counts it."""
    run, behind, most = OnnxRuntimeStep.run, threading.Event(), 0

    def slow(step: OnnxRuntimeStep) -> None:
        time.sleep(0.001)
        run(step)

    def seconds() -> Iterator[Any]:
        for second in range(60):
            yield from np.full((30, 16, 16, 3), second, np.uint8)
            behind.wait(5)
            behind.clear()

    monkeypatch.setattr(OnnxRuntimeStep, "run", slow)
    path = tmp_path / "out.mcap"
    opener = partial(ArraySource, seconds(), (16, 16))
    with (
        RecordingWriter(path, Tokenizer.of(bundle), ["arrays"]) as writer,
        bundle.encoder("cpu") as encoder,
        Captures([opener], policy=policy, capacity=8) as captures,
    ):
        next_event = captures.next

        def watched(*arguments: Any, **options: Any) -> Any:
            nonlocal most
            event = next_event(*arguments, **options)
            most = max(most, captures.backlog)
            if captures.backlog < 2:
                behind.set()
            return event

        monkeypatch.setattr(captures, "next", watched)
        done = Recorder(captures, encoder, [writer], ["arrays"]).run().sources[0]
    assert most <= 8
    assert done.frames_captured == done.frames_encoded + done.frames_dropped == 1800
    assert (done.frames_dropped == 0) == (policy == "block")
    with Recording.open(path) as recording:
        found = list(recording.entries(0))
    assert sum(e.frames for e in found if isinstance(e, Marker)) == done.frames_dropped
    latents = [e for e in found if isinstance(e, LatentRecord)]
    assert sum(latent.frames_real for latent in latents) == done.frames_encoded
    assert [latent.index for latent in latents] == list(range(len(latents)))


def test_the_encoder_gets_as_many_threads_as_are_asked_for(
    bundle: Bundle, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int | None] = []
    open_encoder = Bundle.encoder

    def encoder(self: Bundle, *args: Any, threads: int | None = None, **options: Any) -> Any:
        opened.append(threads)
        return open_encoder(self, *args, threads=threads, **options)

    monkeypatch.setattr(Bundle, "encoder", encoder)
    for threads in (None, 1):
        record(request(bundle, clips, tmp_path / f"{threads}.mcap", threads=threads))
    assert opened == [None, 1]
    assert entries(tmp_path / "None.mcap", 0) == entries(tmp_path / "1.mcap", 0)


def test_encoders_of_a_ladder_are_open_from_the_beginning(
    bundle: Bundle, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And have run once; a bundle of one precision stands for one of two here."""
    opened: list[tuple[str | None, int]] = []
    encoder_of, recorder_of = Bundle.encoder, Recorder.__init__

    def encoder(self: Bundle, *arguments: Any, precision: str | None = None, **more: Any) -> Any:
        found = encoder_of(self, *arguments, **more)
        made.append((precision, found))
        return found

    def recorder(self: Recorder, *arguments: Any, **more: Any) -> None:
        opened.extend((precision, one.calls) for precision, one in made)
        assert list(more["spare"].items()) == made[1:]
        recorder_of(self, *arguments, **more)

    made: list[tuple[str | None, Any]] = []
    monkeypatch.setattr(Bundle, "encoder", encoder)
    monkeypatch.setattr(Recorder, "__init__", recorder)
    monkeypatch.setattr(type(bundle.manifest), "precisions", ("fp32", "int8"))
    ladder = LadderPlan(rungs=LadderPlan.rungs_of("int8,half-rate"))
    done = record(
        request(
            bundle, clips, tmp_path / "a.mcap", backend="cpu", options=RecordOptions(ladder=ladder)
        )
    )
    assert [precision for precision, _ in opened] == [None, "int8"]
    assert all(calls >= 1 for _, calls in opened)
    assert (done.steps, done.given_up) == (0, ""), "files are never late"
