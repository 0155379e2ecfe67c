"""A recording in parts: each opens alone, none is too large, and the oldest make room."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import make_clip
from fake_sources import FakeClock
from recordings import FSQ, PER_LATENT, SECOND, WALL, latents

from vidtok_edge.errors import RecordingBusy, RecordingError, UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.session import parts as parts_module
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.parts import PartedFile, PartsPlan, index_of, parts_in
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Sample, SourceRecords

Disk = namedtuple("Disk", "total used free")


def parts_of(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(index_of(output).read_text())["parts"]
    return found


def recorded(
    output: Path,
    plan: PartsPlan,
    count: int,
    *,
    said: Callable[[str], None] = lambda text: None,
    after: Callable[[int, Path], None] = lambda number, output: None,
    bulk: int = 2000,
) -> Path:
    """`count` latents of a camera, with a sample of `bulk` values that do not compress each."""
    clock = FakeClock()
    writer = partial(
        RecordingWriter, tokenizer=FSQ, sources=["cam"], flush_interval_s=1000, force=False
    )
    rng = np.random.default_rng(0)
    file = PartedFile(output, writer, plan, said, clock=clock.clock)
    with file:
        camera, index = SourceRecords(0), 0
        for number in range(count):
            at_ns = number * PER_LATENT
            if not index:
                reason = "key" if number else "start"
                file.take(camera.start(reason, at_ns, WALL + at_ns, fps=40))  # type: ignore[arg-type]
            given = latents(0, index, at=number)
            for record in camera.encoded(given, encode_start_ns=at_ns, encode_end_ns=at_ns):
                file.take(record)
            values = rng.normal(size=bulk)
            file.log(
                Sample(channel="a", time_ns=at_ns, wall_time_ns=WALL + at_ns, values=values),
                [f"v{n}" for n in range(bulk)],
            )
            index += 1
            assert file._writer is not None
            file._writer.flush()
            clock.pass_s(PER_LATENT / SECOND)
            file.tick(clock.ns)
            if file.due(clock.ns):
                file.take(camera.end("goes on in the next part", at_ns, WALL + at_ns))
                camera, index = SourceRecords(0), 0
                file.end_part()
            after(number, output)
        file.take(camera.end("over", count * PER_LATENT, WALL + count * PER_LATENT))
    return output


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


def test_a_list_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "_MOST_REMOVED", 5)
    plan = PartsPlan(split_s=1, keep_bytes=20_000)
    output = recorded(tmp_path / "drive.mcap", plan, 200, bulk=1)
    parts = parts_of(output)
    assert len(parts) < 12 and sum(part["removed"] for part in parts) == 5
    assert {p["file"] for p in parts if not p["removed"]} == {
        path.name for path in tmp_path.glob("*.mcap")
    }


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
    def refused(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    said: list[str] = []
    plan = PartsPlan(split_s=1, keep_bytes=20_000)
    monkeypatch.setattr(Path, "unlink", refused)
    output = recorded(tmp_path / "drive.mcap", plan, 60, bulk=1, said=said.append)
    assert len(said) == 1 and "cannot be removed: Permission denied" in said[0]
    assert not any(part["removed"] for part in parts_of(output))
    assert sum(part["latents"] for part in parts_of(output)) == 60


def test_a_session_goes_on_with_the_list_of_before(tmp_path: Path) -> None:
    """As after a crash: the part that was cut off counts, and is removed in its turn."""
    plan = PartsPlan(split_s=1)
    output = recorded(tmp_path / "drive.mcap", plan, 25, bulk=1)
    listed = json.loads(index_of(output).read_text())
    listed["parts"][-1] |= {"finished": False, "bytes": 0}
    index_of(output).write_text(json.dumps(listed))
    first = [part["file"] for part in listed["parts"]]
    cut = (tmp_path / first[-1]).read_bytes()[:-200]
    (tmp_path / first[-1]).write_bytes(cut)
    (tmp_path / first[0]).unlink()  # by hand
    recorded(output, plan, 15, bulk=1)
    parts = parts_of(output)
    assert [part["file"] for part in parts[:3]] == first and len(parts) == 5
    assert [part["removed"] for part in parts] == [True, False, False, False, False]
    assert parts[2]["bytes"] == len(cut) and all(part["finished"] for part in parts)


def test_another_session_is_not_disturbed(tmp_path: Path) -> None:
    output = recorded(tmp_path / "drive.mcap", PartsPlan(split_s=1), 5, bulk=1)
    path = tmp_path / parts_of(output)[-1]["file"]
    with (
        RecordingWriter(path, FSQ, ["cam"], force=True),
        pytest.raises(RecordingBusy, match="being recorded to by another process"),
    ):
        recorded(output, PartsPlan(split_s=1), 5, bulk=1)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema": 2, "parts": []}',
        '{"schema": 1, "parts": [{}]}',
        '{"schema": 1, "parts": 3}',
        '{"schema": 1, "parts": [{"file": "../../etc/x", "begin_ns": 1, "end_ns": 1, "latents": 1,'
        ' "samples": 0, "bytes": 1, "finished": true, "removed": false}]}',
        '{"schema": 1, "parts": [{"file": "x", "begin_ns": true, "end_ns": 1, "latents": 1,'
        ' "samples": 0, "bytes": 1, "finished": true, "removed": false}]}',
    ],
)
def test_a_list_that_is_none_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    output = tmp_path / "drive.mcap"
    index_of(output).write_text(content)
    with pytest.raises(RecordingError, match="cannot be read as a list of parts"):
        recorded(output, PartsPlan(split_s=1), 2, bulk=1)
    assert index_of(output).read_text() == content


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"split_bytes": 10}, "A part has 10 bytes; allowed: 1000000 or more"),
        ({"split_s": 0.1}, "A part lasts 0.1 s; allowed: 1 or more"),
        ({"split_s": float("nan")}, "A part lasts nan s"),
        ({"keep_bytes": 10**9}, "Only finished parts are removed"),
        ({"keep_free_bytes": 10**9}, "Only finished parts are removed"),
        ({"split_bytes": 10**6, "keep_bytes": 10**6}, "two of them would have 2000000"),
    ],
)
def test_plans_that_contradict_themselves(plan: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PartsPlan(**plan)


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


def test_a_list_stands_for_its_parts(tmp_path: Path) -> None:
    output = recorded(tmp_path / "drive.mcap", PartsPlan(split_s=1), 25, bulk=1)
    listed = json.loads(index_of(output).read_text())
    names = [part["file"] for part in listed["parts"]]
    listed["parts"][0]["removed"] = True
    index_of(output).write_text(json.dumps(listed))
    assert [path.name for path in parts_in(index_of(output))] == names[1:]
    assert parts_in(output) == [output]
    (tmp_path / names[1]).unlink()
    with pytest.raises(RecordingError, match=f"{names[1]} is listed in .* and is not there"):
        parts_in(index_of(output))


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
