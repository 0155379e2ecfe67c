"""A recording in parts: each opens alone, none is too large, and the oldest make room."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from parted import parts_of, recorded
from recordings import FSQ, PER_LATENT, WALL

from vidtok_edge.errors import OutputNotWritable, RecordingBusy, SourceError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.parted_file import PartedFile
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.parts_index import index_of
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.session.samples import GAPS
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Sample, SourceRecords

Disk = namedtuple("Disk", "total used free")


def test_every_part_is_a_recording_and_none_is_too_large(tmp_path: Path) -> None:
    plan = PartsPlan(split_bytes=1_000_000)
    output = recorded(tmp_path / "drive.mcap", plan, 200)
    parts = parts_of(output)
    assert len(parts) > 2 and all(part["finished"] for part in parts)
    assert sum(part["latents"] for part in parts) == 200
    seen = []
    for part in parts:
        path = tmp_path / part["file"]
        assert 500_000 < path.stat().st_size <= 1_000_000 or part is parts[-1]
        assert path.stat().st_size == part["bytes"]
        with Recording.open(path) as recording:
            assert recording.indexed
            entries = list(recording.entries())
            assert isinstance(entries[0], Marker) and entries[0].starts_stream
            seen += [e.capture_time_ns for e in entries if isinstance(e, LatentRecord)]
            assert recording.data_channel("a").fields[:2] == ("v0", "v1")
            assert len(list(recording.samples("a"))) == part["samples"] == part["latents"]
        assert recover(path, tmp_path / "again.mcap", force=True), "nothing is missing in a part"
    assert seen == [number * PER_LATENT for number in range(200)]


def test_parts_leave_nothing_that_refers_to_itself(tmp_path: Path) -> None:
    """Else memory grows until Python looks for such, which it does ever more rarely."""
    unreachable: dict[int, int] = {}

    def look(number: int, output: Path) -> None:
        if number in (50, 190):
            unreachable[number] = gc.collect()

    gc.disable()
    try:
        recorded(tmp_path / "drive.mcap", PartsPlan(split_s=2), 200, after=look, bulk=1)
    finally:
        gc.enable()
    assert unreachable[190] == 0


def test_parts_end_by_time(tmp_path: Path) -> None:
    output = recorded(tmp_path / "drive.mcap", PartsPlan(split_s=2), 100, bulk=1)
    assert [part["latents"] for part in parts_of(output)] == [20] * 5


def test_the_budget_is_never_passed_by_more_than_a_part(tmp_path: Path) -> None:
    said: list[str] = []
    most = 0

    def look(number: int, output: Path) -> None:
        nonlocal most
        most = max(most, sum(path.stat().st_size for path in output.parent.glob("*.mcap")))

    plan = PartsPlan(split_bytes=1_000_000, keep_bytes=3_000_000)
    output = recorded(tmp_path / "drive.mcap", plan, 500, said=said.append, after=look)
    assert most <= 4_000_000
    parts = parts_of(output)
    kept = [part for part in parts if not part["removed"]]
    assert [p["file"] for p in kept] == sorted(p.name for p in tmp_path.glob("*.mcap"))
    assert kept == parts[-len(kept) :], "the oldest went"
    assert sum(part["bytes"] for part in kept) <= 3_000_000
    assert said and "went to make room" in said[0]


def test_a_disk_that_fills_makes_the_oldest_go_and_never_the_one_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10**12]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**13, 0, free[0]))

    def fill(number: int, output: Path) -> None:
        if number == 60:
            free[0] = 1

    plan = PartsPlan(split_s=1, keep_free_bytes=10**9)
    output = recorded(tmp_path / "drive.mcap", plan, 75, bulk=1, after=fill)
    parts = parts_of(output)
    assert [part["removed"] for part in parts[:6]] == [True] * 6
    assert not parts[-1]["removed"]
    with Recording.open(tmp_path / parts[-1]["file"]) as recording:
        assert list(recording.entries())


def test_a_part_that_cannot_be_removed_is_told_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self.suffix != ".mcap":
            return unlink(self, missing_ok)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    said: list[str] = []
    plan = PartsPlan(split_s=1, keep_bytes=20_000)
    monkeypatch.setattr(Path, "unlink", refused)
    output = recorded(tmp_path / "drive.mcap", plan, 60, bulk=1, said=said.append)
    assert len(said) == 1 and "cannot be removed: Permission denied" in said[0]
    assert not any(part["removed"] for part in parts_of(output))
    assert sum(part["latents"] for part in parts_of(output)) == 60


def test_another_session_is_not_disturbed(tmp_path: Path) -> None:
    output = recorded(tmp_path / "drive.mcap", PartsPlan(split_s=1), 5, bulk=1)
    path = tmp_path / parts_of(output)[-1]["file"]
    with (
        RecordingWriter(path, FSQ, ["cam"], force=True),
        pytest.raises(RecordingBusy, match="being recorded to by another process"),
    ):
        recorded(output, PartsPlan(split_s=1), 5, bulk=1)


def opened(output: Path, *, force: bool = False) -> PartedFile:
    """A file of a camera that has given nothing yet."""

    def writer(path: Path) -> RecordingWriter:
        return RecordingWriter(path, FSQ, ["cam"])

    return PartedFile(output, writer, PartsPlan(split_s=1), lambda text: None, force=force)


@pytest.mark.parametrize("force", [False, True])
def test_a_list_has_one_session_also_while_no_part_is_written(tmp_path: Path, force: bool) -> None:
    output = recorded(tmp_path / "drive.mcap", PartsPlan(split_s=1), 5, bulk=1)
    file = opened(output, force=force)
    with file:  # it waits for its camera
        before = index_of(output).read_text()
        for forced in (False, True):
            with pytest.raises(RecordingBusy, match="the list of another session"):
                opened(output, force=forced)
        assert index_of(output).read_text() == before
        file.take(SourceRecords(0).start("start", 0, WALL, fps=40))
        file.end_part()  # the list was replaced, twice
        with pytest.raises(RecordingBusy, match="the list of another session"):
            opened(output, force=True)
        listed = parts_of(output)
        assert len(listed) == (1 if force else 2)
    with opened(output):
        assert parts_of(output) == listed


def test_what_is_let_go_before_a_part_is_told_in_that_part_alone(tmp_path: Path) -> None:
    output, at = tmp_path / "drive.mcap", 0
    file = opened(output)
    with file:
        for let_go in (3, 0, 5):
            for _ in range(10_000 + let_go if let_go else 0):
                file.log(Sample(channel="a", time_ns=at, wall_time_ns=WALL + at, text="x"))
                at += 1
            file.take(SourceRecords(0).start("start", at, WALL + at, fps=40))
            file.end_part()
    told = []
    for part in parts_of(output):
        with Recording.open(tmp_path / part["file"]) as recording:
            samples = list(recording.samples())
            told.append([json.loads(one.text) for one in samples if one.channel == GAPS])
            assert len(samples) == part["samples"]
    assert told == [[{"before_the_first_frame": 3}], [], [{"before_the_first_frame": 5}]]


def test_two_sessions_do_not_wait_for_the_first_part_of_one_list(tmp_path: Path) -> None:
    """As with --trigger, for hours."""
    output = tmp_path / "drive.mcap"
    with opened(output), opened(tmp_path / "other.mcap"):
        for force in (False, True):
            with pytest.raises(RecordingBusy, match="the list of another session"):
                opened(output, force=force)
    assert not list(tmp_path.iterdir())
    with opened(output):
        pass


def test_a_session_that_could_not_begin_holds_no_list(tiny: Path, tmp_path: Path) -> None:
    request = RecordRequest(
        bundle=Bundle.load(tiny),
        sources=("synthetic:50",),
        output=tmp_path / "drive.mcap",
        backend="cpu",
        parts=PartsPlan(split_s=1),
        options=RecordOptions(duration_s=0.2),
        data=(str(tmp_path / "nowhere"),),
    )
    with pytest.raises(SourceError, match="nowhere") as failed:
        record(request)
    assert record(replace(request, data=())).sources[0].latents
    assert failed.tb is not None  # it refers to all that there was


def test_of_two_sessions_that_begin_a_list_the_second_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")  # has no names that die with a process
    output = tmp_path / "drive.mcap"
    with opened(output) as one, opened(output) as other:
        one.take(SourceRecords(0).start("start", 0, WALL, fps=40))
        listed = set(tmp_path.iterdir())
        with pytest.raises(RecordingBusy, match="the list of another session"):
            other.take(SourceRecords(0).start("start", 0, WALL, fps=40))
        assert set(tmp_path.iterdir()) == listed
    assert [part["file"] for part in parts_of(output)] == [
        path.name for path in listed if path.suffix == ".mcap"
    ]


@pytest.mark.parametrize("room", [0, 400, 2000])
def test_a_disk_that_is_full_from_the_beginning_is_not_littered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """As of a service that is started anew all night."""
    output = recorded(tmp_path / "drive.mcap", PartsPlan(split_s=1), 5, bulk=1)
    before = sorted(path.name for path in tmp_path.iterdir())
    real = os.pwrite

    def pwrite(fd: int, data: memoryview, at: int) -> int:
        if at + len(data) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    rng = np.random.default_rng(0)
    for _ in range(3):
        with (
            pytest.raises(OutputNotWritable, match="Nothing was recorded, and it is not kept"),
            opened(output) as file,
        ):
            file.take(SourceRecords(0).start("start", 0, WALL, fps=40))
            values = rng.normal(size=4000)
            file.log(Sample(channel="a", time_ns=0, wall_time_ns=WALL, values=values))
            assert file._writer is not None
            file._writer.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    monkeypatch.undo()
    with opened(output):
        pass
    assert all((tmp_path / part["file"]).is_file() for part in parts_of(output))


def test_a_session_in_parts_loses_no_frame(tiny: Path, tmp_path: Path) -> None:
    request = RecordRequest(
        bundle=Bundle.load(tiny),
        sources=("synthetic:100", "synthetic:50"),
        output=tmp_path / "drive.mcap",
        backend="cpu",
        parts=PartsPlan(split_s=1),
        options=RecordOptions(duration_s=2.6),
    )
    done = record(request)
    parts = parts_of(tmp_path / "drive.mcap")
    assert len(parts) >= 2
    frames = [0, 0]
    for part in parts:
        with Recording.open(tmp_path / part["file"]) as recording:
            for entry in recording.entries():
                if isinstance(entry, LatentRecord):
                    frames[entry.source] += entry.frames_real
        assert recover(tmp_path / part["file"], tmp_path / "again.mcap", force=True)
    assert frames == [source.frames_encoded for source in done.sources]
    assert sum(source.latents for source in done.sources) == sum(p["latents"] for p in parts)


def test_a_source_that_ended_in_an_earlier_part_is_missing_nothing(
    tiny: Path, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "a.mkv", np.zeros((9, 16, 16, 3), np.uint8))
    request = RecordRequest(
        bundle=Bundle.load(tiny),
        sources=("synthetic:50", str(clip)),
        output=tmp_path / "drive.mcap",
        backend="cpu",
        parts=PartsPlan(split_s=1),
        options=RecordOptions(duration_s=3.2),
    )
    record(request)
    parts = parts_of(tmp_path / "drive.mcap")
    assert len(parts) >= 3
    for part in parts:
        assert recover(tmp_path / part["file"], tmp_path / "again.mcap", force=True)
        with Recording.open(tmp_path / part["file"]) as recording:
            markers = [entry for entry in recording.entries(1) if isinstance(entry, Marker)]
        assert [m.detail for m in markers if m.kind == "end"] == ["ended"]
