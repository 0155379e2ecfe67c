"""Time in which no frame came ends an episode, and no window reaches over it, marker or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import FSQ, SECOND, WALL, latents, record, values_of, write

from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.exports.episodes import GAP, episodes
from vidtok_edge.runtime.recording.exports.exporting import Format, export_recording
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.records import SourceRecords

FORMATS: tuple[Format, ...] = ("npz", "webdataset", "lerobot", "parquet")
FPS = 40
FRAME = SECOND // FPS


def timed(given: Latents, own: bool) -> Latents:
    """With the clip's own time in each stamp: captured five times as fast as it plays."""
    if not own:
        return given
    spans = []
    for one in given.spans:
        at = one.last.capture_time_ns
        last = replace(one.last, capture_time_ns=at // 5, media_time_ns=at)
        spans.append(replace(one, stamps=len(one.stamps) * (last,), last=last))
    return replace(given, spans=tuple(spans))


def stalled(path: Path, waits: list[int], *, own: bool, name: str = "/dev/video0") -> Path:
    """A latent behind each wait, in frames beyond what it takes; the last has no wait before it."""
    with RecordingWriter(path, FSQ, [name], flush_interval_s=1000) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=FPS))
        frames = 0
        for index, wait in enumerate([0, *waits]):
            share = FSQ.framing.share(index)
            frames += wait + (len(share) if index else 0)
            write(writer, camera, timed(latents(0, index, at_ns=frames * FRAME), own))
        at = frames * FRAME // (5 if own else 1)
        writer.take(camera.end("over", at, WALL + at))
    return path


def runs_between(waits: list[int], most: float) -> list[int]:
    found = [1]
    for wait in waits:
        if wait > most:
            found.append(0)
        found[-1] += 1
    return found


def runs_of(path: Path) -> list[int]:
    with Recording.open(path) as recording:
        return [sum(1 for _ in episode.rows) for episode in episodes(recording)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(waits=st.lists(st.sampled_from([0, 1, 2, 5, 19, 21, 90]), min_size=1, max_size=5))
@pytest.mark.parametrize("own", [True, False])
def test_an_episode_ends_where_time_passed(own: bool, waits: list[int], tmp_path: Path) -> None:
    """Of a clip behind two frames that are not there, of a camera behind half a second."""
    told = [0, 0, 0]  # most frames are in time, which is what a rate is
    for wait in waits:
        told += [wait, 0, 0]
    path = tmp_path / "a.mcap"
    path.unlink(missing_ok=True)
    stalled(path, told, own=own)
    assert runs_of(path) == runs_between(told, 1.5 if own else 20)


@pytest.mark.parametrize("waits", [[40, 40], [40, 0, 40, 40], [40, 40, 0, 40], [40, 40, 40]])
@pytest.mark.parametrize("before", [0, 5])
def test_stalls_one_behind_the_other_are_gaps_each(
    before: int, waits: list[int], tmp_path: Path
) -> None:
    told = [*[0] * before, *waits, *[0] * 9]
    assert runs_of(stalled(tmp_path / "a.mcap", told, own=True)) == runs_between(told, 1.5)


@pytest.mark.parametrize(("own", "wait"), [(True, 2), (True, 4), (True, 40), (False, 30)])
def test_a_rate_that_falls_for_good_is_three_gaps_at_most(
    own: bool, wait: int, tmp_path: Path
) -> None:
    runs = runs_of(stalled(tmp_path / "a.mcap", [0] * 20 + [wait] * 12, own=own))
    assert runs == [21, 1, 1, 10]


def test_a_slow_camera_may_be_as_late_as_a_frame(tmp_path: Path) -> None:
    """At one frame each second half a second more is no frame that is not there."""
    path = tmp_path / "a.mcap"
    with RecordingWriter(path, FSQ, ["rtsp://cam"], flush_interval_s=1000) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=1))
        at = 0
        for index, late in enumerate([0, 0, 0, 0.7, -0.7, 0, 2.5, 0]):
            at += round((len(FSQ.framing.share(index)) + late) * SECOND)
            write(writer, camera, latents(0, index, at_ns=at))
    assert runs_of(path) == [6, 2]


@pytest.mark.parametrize(
    "name", ["-", "clip.mp4", "/data/frames", "./frames", "/tmp/cam", "/dev/stdin", "synthetic"]
)
def test_times_that_say_how_fast_a_source_was_read_end_nothing(name: str, tmp_path: Path) -> None:
    path = stalled(tmp_path / "a.mcap", [0, 0, 90, 0], own=False, name=name)
    assert runs_of(path) == [5]


@pytest.mark.parametrize("name", ["rtsp://cam", "/dev/video2", "front", "synthetic:30"])
def test_a_camera_that_fell_silent_ends_one(name: str, tmp_path: Path) -> None:
    assert runs_of(stalled(tmp_path / "a.mcap", [0, 0, 90, 0], own=False, name=name)) == [3, 2]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("gaps", ["split", "keep"])
def test_no_window_reaches_over_it_and_it_is_counted(
    gaps: Any, format: Format, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from vidtok_edge.datasets import TokenWindows

    path = stalled(tmp_path / "a.mcap", [0, 0, 40, 0, 0, 2, 0], own=True)
    done = export_recording(path, tmp_path / "set", format, gaps=gaps)
    assert (done.gaps, done.episodes) == (2, 3 if gaps == "split" else 1)
    for opened in (path, tmp_path / "set"):
        windows = TokenWindows(opened, length=2)
        assert [int(windows[i]["first"]) for i in range(len(windows))] == [0, 1, 0, 1, 0]
        begin = [0, 1, 3, 4, 6]
        for i, first in enumerate(begin):
            held = np.stack([values_of(0, first), values_of(0, first + 1)])
            assert torch.equal(windows[i]["tokens"], torch.from_numpy(held).long())


def test_a_recording_without_gaps_has_none(tmp_path: Path) -> None:
    with Recording.open(record(tmp_path / "a.mcap", key=7)) as recording:
        rows = [row for episode in episodes(recording) for row in episode.rows]
    assert len(rows) == 60 and GAP not in {row.begins for row in rows}


def test_a_dataset_that_does_not_know_gaps_is_added_to(tmp_path: Path) -> None:
    """As an earlier version wrote it; another order of its words is another meaning."""
    pytest.importorskip("torch")
    from vidtok_edge.datasets import TokenWindows

    path, output = stalled(tmp_path / "a.mcap", [0, 0, 40, 0], own=True), tmp_path / "set"
    export_recording(path, output, "lerobot", end_s=0.3)
    info = output / "meta" / "info.json"
    told = json.loads(info.read_text("utf-8"))
    words = told["features"]["begins"]["info"]["words"]
    for had, taken in ((words[::-1], False), ([*words, "more"], False), (words[:-1], True)):
        told["features"]["begins"]["info"]["words"] = had
        info.write_text(json.dumps(told), "utf-8")
        if taken:
            export_recording(path, output, "lerobot", gaps="split", append=True)
        else:
            with pytest.raises(DatasetError, match="differ in the features begins"):
                export_recording(path, output, "lerobot", append=True)
    assert json.loads(info.read_text("utf-8"))["features"]["begins"]["info"]["words"] == words
    assert len(TokenWindows(output, length=2)) == 2 + 2 + 1
