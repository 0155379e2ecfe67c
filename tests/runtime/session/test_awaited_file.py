"""A recording's file that is made with the first frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from recordings import FSQ, WALL, latents, write

from vidtok_edge.errors import OutputExists
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.session.awaited_file import AwaitedFile
from vidtok_edge.runtime.streaming.records import LatentRecord, SourceRecords


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
