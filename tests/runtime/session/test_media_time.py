"""A clip keeps its own clock, however fast it was encoded: recorded, replayed and exported."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip

from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.backends.onnxruntime import OnnxRuntimeStep
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.clips.token_files import TokenFile
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.recording.exports.exporting import export_recording
from vidtok_edge.runtime.recording.playback import frame_rate, rate_doubt
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.replay import replay
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.sources import RawFormat
from vidtok_edge.runtime.streaming.records import LatentRecord

FIELD = Path(__file__).resolve().parents[2] / "field" / "recordings"
FRAMES, FPS = 33, 100


@pytest.fixture
def bundle(tiny: Path) -> Bundle:
    return Bundle.load(tiny)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that takes twice as long as the frames that it encodes play."""
    run = OnnxRuntimeStep.run

    def slowly(self: OnnxRuntimeStep) -> None:
        time.sleep(8 / FPS)
        run(self)

    monkeypatch.setattr(OnnxRuntimeStep, "run", slowly)


@pytest.fixture
def recording(bundle: Bundle, tmp_path: Path, slow: None) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 16, 16, 3), np.uint8)
    clip, path = tmp_path / "clip.mkv", tmp_path / "slow.mcap"
    make_clip(clip, frames, fps=FPS)
    record(RecordRequest(bundle=bundle, sources=(str(clip),), output=path))
    return path


def test_latents_know_both_times(recording: Path) -> None:
    with Recording.open(recording) as opened:
        latents = [e for e in opened.entries(0) if isinstance(e, LatentRecord)]
        assert [e.media_time_ns for e in latents] == [
            round(4 * i * 1e9 / FPS) for i in range(len(latents))
        ]
        took = latents[-1].capture_time_ns - latents[0].capture_time_ns
        assert took > 1.5 * (FRAMES - 1) / FPS * 1e9, "capture times tell how long it took"
        assert frame_rate(opened, 0) == pytest.approx(FPS, rel=1e-3)
        assert rate_doubt(opened, 0) is None


def test_it_is_replayed_at_its_own_rate_and_cut_by_its_own_time(
    recording: Path, bundle: Bundle
) -> None:
    whole, part = io.BytesIO(), io.BytesIO()
    done = replay(recording, bundle, whole)
    assert (done.frames, done.doubt) == (FRAMES, None) and done.fps == pytest.approx(FPS, rel=1e-3)
    assert replay(recording, bundle, part, start_s=0.0999, end_s=0.1999).frames == 10
    size = 16 * 16 * 3
    assert part.getvalue() == whole.getvalue()[10 * size : 20 * size]


def test_what_is_exported_has_its_own_times(recording: Path, tmp_path: Path) -> None:
    due = [round(4 * i * 1e9 / FPS) for i in range(9)]
    export_recording(recording, tmp_path / "npz", "npz")
    [file] = (tmp_path / "npz").glob("*.npz")
    tokens = TokenFile.load(file)
    assert tokens.time_ns is not None and tokens.time_ns.tolist() == due
    assert tokens.meta is not None and tokens.meta.fps == pytest.approx(FPS, rel=1e-3)
    export_recording(recording, tmp_path / "wds", "webdataset")
    [shard] = (tmp_path / "wds").glob("*.tar")
    with tarfile.open(shard) as tar:
        [member] = [m for m in tar.getmembers() if m.name.endswith(".json")]
        opened = tar.extractfile(member)
        assert opened is not None
        facts = json.load(opened)
    assert facts["media_time_ns"] == due and facts["fps"] == pytest.approx(FPS, rel=1e-3)


def test_a_part_is_exported_by_its_own_time(recording: Path, tmp_path: Path) -> None:
    """The recording is twice as long as the clip: 0.33 s."""
    export_recording(recording, tmp_path / "out", "npz", start_s=0.0999, end_s=0.1999)
    [episode] = json.loads((tmp_path / "out" / "recording.json").read_text("utf-8"))["episodes"]
    assert (episode["first_latent"], episode["latents"]) == (3, 2)
    last = export_recording(recording, tmp_path / "last", "npz", start_s=0.3)
    assert (last.latents, last.markers, last.unended) == (1, {"end": 1}, 0)


def test_the_last_frame_is_told_by_its_own_time(
    recording: Path, tmp_path: Path, bundle: Bundle
) -> None:
    """Not by the recording's length, which is twice that."""
    with pytest.raises(RecordingError, match=r"its last one is at 0\.3 s"):
        replay(recording, bundle, io.BytesIO(), start_s=0.5)
    with pytest.raises(RecordingError, match=r"the last frame .* is at 0\.3 s"):
        export_recording(recording, tmp_path / "out", "npz", start_s=0.5)


def test_a_lerobot_dataset_has_its_own_times(recording: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_recording(recording, tmp_path / "lerobot", "lerobot")
    [file] = (tmp_path / "lerobot" / "data").rglob("*.parquet")
    table = parquet.read_table(file)
    assert table["observation.media_time_ns"].to_pylist() == [
        round(4 * i * 1e9 / FPS) for i in range(9)
    ]
    times = np.array(table["timestamp"].to_pylist())
    np.testing.assert_allclose(times, np.arange(9) * 4 / FPS, rtol=1e-3, atol=1e-6)


def test_recover_keeps_them(recording: Path, tmp_path: Path) -> None:
    assert recover(recording, tmp_path / "again.mcap")
    with Recording.open(tmp_path / "again.mcap") as again, Recording.open(recording) as opened:
        times = [
            [e.media_time_ns for e in each.entries(0) if isinstance(e, LatentRecord)]
            for each in (again, opened)
        ]
        assert times[0] == times[1] and None not in times[0]


def test_a_pipe_without_a_rate_has_no_clock(bundle: Bundle, tmp_path: Path) -> None:
    pipe, path = tmp_path / "pipe", tmp_path / "a.mcap"
    os.mkfifo(pipe)
    for fps in (None, 50.0):
        given = threading.Thread(target=pipe.write_bytes, args=(os.urandom(9 * 16 * 16 * 3),))
        given.start()
        record(
            RecordRequest(
                bundle=bundle,
                sources=(str(pipe),),
                output=path,
                raw=RawFormat(16, 16),
                fps=fps,
                force=True,
            )
        )
        given.join()
        with Recording.open(path) as opened:
            latents = [e for e in opened.entries(0) if isinstance(e, LatentRecord)]
            own = [e.media_time_ns for e in latents]
            assert own == ([None] * 3 if fps is None else [0, 80_000_000, 160_000_000])


@pytest.mark.parametrize(
    ("name", "fps", "doubt"),
    [
        (
            "slow-file.mcap",
            30,
            r"\(clip_robot\.mp4\) was encoded at 8\.\d+ .* 30 frames/s .* taken",
        ),
        ("pipe-no-fps.mcap", 3.63, r"\(-\) came without a rate: .* 3\.63 frames/s"),
    ],
)
def test_what_was_recorded_before_is_doubted(name: str, fps: float, doubt: str) -> None:
    with Recording.open(FIELD / name) as opened:
        said = rate_doubt(opened, 0)
        assert frame_rate(opened, 0) == pytest.approx(fps, rel=1e-3)
    assert said is not None and re.search(doubt, said), said
