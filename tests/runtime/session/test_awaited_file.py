"""A recording's file that is made with the first frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from recordings import FSQ, WALL, latents, write

from vidtok_edge.errors import OutputExists
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.session.awaited_file import AwaitedFile
from vidtok_edge.runtime.session.samples import GAPS, SampleTally
from vidtok_edge.runtime.streaming.records import LatentRecord, Sample, SourceRecords


def writer(path: Path) -> partial[RecordingWriter]:
    return partial(RecordingWriter, path, FSQ, ["cam"])


def test_the_file_is_made_with_the_first_stream_and_has_the_markers_of_before(
    tmp_path: Path,
) -> None:
    path, camera = tmp_path / "a.mcap", SourceRecords(0)
    with AwaitedFile(writer(path)) as file:
        file.take(camera.lost("unplugged", 0, WALL))
        file.tick(10**12)
        assert not path.exists() and not file.safe_bytes
        file.take(camera.start("reconnect", 5, WALL + 5))
        assert path.exists() and file.safe_bytes
        write(file, camera, latents(0, 0, count=2))
    with Recording.open(path) as recording:
        assert recording.indexed
        found = list(recording.entries())
    kinds = ["latent" if isinstance(e, LatentRecord) else e.kind for e in found]
    assert kinds == ["lost", "reconnect", "latent", "latent"]


def test_without_a_stream_there_is_no_file_and_what_is_held_is_bounded(tmp_path: Path) -> None:
    path, camera = tmp_path / "a.mcap", SourceRecords(0)
    with AwaitedFile(writer(path)) as file:
        for second in range(1500):
            file.take(camera.lost(f"{second}", second, WALL))
    assert not path.exists()
    with AwaitedFile(writer(path)) as file:
        for second in range(1500):
            file.take(camera.lost(f"{second}", second, WALL))
        file.take(camera.start("reconnect", 1500, WALL))
    with Recording.open(path) as recording:
        *found, _ = recording.entries()
    assert not isinstance(found[0], LatentRecord)
    assert (len(found), found[0].detail) == (1000, "500")


def test_what_keeps_the_file_from_being_made_is_told_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").touch()
    camera = SourceRecords(0)
    with AwaitedFile(writer(tmp_path / "a.mcap")) as file:
        for _ in range(2):
            with pytest.raises(OutputExists):
                file.take(camera.start("start", 0, WALL))


def sample(at: int, *values: float, channel: str = "action") -> Sample:
    return Sample(channel=channel, time_ns=at, wall_time_ns=WALL + at, values=np.array(values))


def test_samples_of_before_are_held_and_those_let_go_are_counted_and_told(tmp_path: Path) -> None:
    path, camera, tally = tmp_path / "a.mcap", SourceRecords(0), SampleTally()
    with AwaitedFile(writer(path), tally) as file:
        for at in range(10_003):
            file.log(sample(at, at, np.nan), ["x", "y"])
        file.take(camera.start("start", 10_003, WALL + 10_003))
        file.log(sample(10_004, 1, 2))
    with Recording.open(path) as recording:
        assert recording.data_channel("action").fields == ("x", "y")
        *held, last = (one.time_ns for one in recording.samples("action"))
        [gap] = recording.samples(GAPS)
    assert (held, last) == ([*range(3, 10_003)], 10_004)
    assert (gap.time_ns, gap.text) == (3, '{"before_the_first_frame": 3}')
    [counts] = tally.counts
    assert (counts.samples, counts.not_finite, counts.no_frame) == (10_001, 10_000, 3)


def test_where_no_frame_came_no_sample_counts_as_recorded(tmp_path: Path) -> None:
    tally = SampleTally()
    with AwaitedFile(writer(tmp_path / "a.mcap"), tally) as file:
        file.log(sample(0, 1))
    [counts] = tally.counts
    assert (counts.samples, counts.no_frame) == (0, 1)
