"""Events: what lies around a moment is a recording of its own, and nothing else is written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_sources import FakeClock
from parted import parts_of
from recordings import FSQ, PER_LATENT, SECOND, latents, values_of

from vidtok_edge.errors import OutputNotWritable, UsageError
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.parts_index import index_of, parts_in
from vidtok_edge.runtime.session.samples import TRIGGERS
from vidtok_edge.runtime.session.trigger import TriggerPlan, TriggerWhen
from vidtok_edge.runtime.session.triggered_file import TriggeredFile
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Sample, SourceRecords

KEY = 20  # latents, two seconds
STARTED = FakeClock().ns


@dataclass
class Session:
    """Does with a file what a session of two cameras does; ten latents a second."""

    file: TriggeredFile
    clock: FakeClock
    at: int = 0
    cameras: list[SourceRecords] = field(
        default_factory=lambda: [SourceRecords(0), SourceRecords(1)]
    )
    index: int = 0

    def go_on(self, count: int, each: Callable[[int], object] = lambda at: None) -> None:
        for _ in range(count):
            now = self.clock.ns, self.clock.wall_ns()
            for camera in self.cameras:
                if not self.index % KEY:
                    self.file.take(camera.start("key", *now, fps=40))
                index = self.index % KEY
                given = latents(camera.source, index, at_ns=now[0])
                for record in camera.encoded(given, encode_start_ns=now[0], encode_end_ns=now[0]):
                    self.file.take(record)
            self.index = self.index % KEY + 1
            each(self.at)
            self.at += 1
            self.clock.pass_s(PER_LATENT / SECOND)
            self.file.tick(self.clock.ns)
            if self.file.due(self.clock.ns):
                self.end(self.file.end_detail)
                self.file.end_part()

    def end(self, why: str) -> None:
        for number, camera in enumerate(self.cameras):
            self.file.take(camera.end(why, self.clock.ns, self.clock.wall_ns()))
            self.cameras[number] = SourceRecords(number)
        self.index = 0

    def log(self, *values: float, channel: str = "a") -> None:
        now = self.clock.ns, self.clock.wall_ns()
        content = np.array(values, np.float64)
        sample = Sample(channel=channel, time_ns=now[0], wall_time_ns=now[1], values=content)
        self.file.log(sample, [f"v{n}" for n in range(len(values))])


def session(
    output: Path,
    trigger: TriggerPlan | None = None,
    plan: PartsPlan | None = None,
    said: Callable[[str], None] = lambda text: None,
) -> Session:
    writer = partial(RecordingWriter, tokenizer=FSQ, sources=["a", "b"], flush_interval_s=1000)
    clock = FakeClock()
    file = TriggeredFile(
        output,
        writer,
        plan or PartsPlan(events=True),
        said,
        tokenizer=FSQ,
        trigger=trigger or TriggerPlan(before_s=3, after_s=1),
        clock=clock.clock,
    )
    return Session(file, clock)


def content(path: Path) -> tuple[list[int], list[str]]:
    """Whose latents it has, of either camera, and why it was kept."""
    with Recording.open(path) as recording:
        found = []
        for source in (0, 1):
            entries = list(recording.entries(source))
            assert isinstance(entries[0], Marker) and entries[0].starts_stream
            assert (entries[0].stream, entries[0].latents) == (0, 0)
            ours = [entry for entry in entries if isinstance(entry, LatentRecord)]
            for entry in ours:
                np.testing.assert_array_equal(entry.values, values_of(source, entry.index))
            found.append([(e.capture_time_ns - STARTED) // PER_LATENT for e in ours])
            last = entries[-1]
            assert isinstance(last, Marker) and last.kind == "end"
            assert last.latents == len(ours)
        assert found[0] == found[1]
        told = TRIGGERS in recording.data_channels
        triggers = list(recording.samples(TRIGGERS)) if told else []
        why = [json.loads(sample.text)["why"] for sample in triggers]
    return found[0], why


def test_nothing_is_written_without_a_trigger(tmp_path: Path) -> None:
    one = session(tmp_path / "drive.mcap")
    with one.file:
        one.go_on(200)
        one.end("over")
    assert list(tmp_path.iterdir()) == [] and one.file.events == 0


def test_an_event_is_a_recording_that_begins_at_a_key(tmp_path: Path) -> None:
    said: list[str] = []
    output = tmp_path / "drive.mcap"
    one = session(output, said=said.append)
    with one.file:
        one.go_on(95, lambda at: one.log(at, 0))
        assert one.file.trigger("bumper")
        assert one.file.ends_in_s == 1 and one.file.facts()["state"] == "recording"
        one.go_on(60, lambda at: one.log(at, 0))
        assert one.file.ends_in_s is None and one.file.facts()["state"] == "waiting"
        one.end("over")
    [part] = parts_of(output)
    path = tmp_path / part["file"]
    # The trigger came at 9.5 s; 3 s before it is 6.5 s, and the key before that at 6 s.
    found, why = content(path)
    assert (found, why) == (list(range(60, 105)), ["bumper"])
    with Recording.open(path) as recording:
        [told] = recording.samples(TRIGGERS)
    assert json.loads(told.text)["looks_back_s"] == pytest.approx(3.5, abs=0.01)
    assert part["finished"] and part["latents"] == 90 and part["samples"] == 46
    assert part["bytes"] == path.stat().st_size
    assert recover(path, tmp_path / "again.mcap"), "nothing is missing in it"
    with Recording.open(path) as recording:
        samples = list(recording.samples("a"))
        assert [s.values[0] for s in samples if s.values is not None] == list(range(60, 105))
        assert recording.data_channel("a").fields == ("v0", "v1")
        ends = [e for e in recording.entries() if isinstance(e, Marker) and e.kind == "end"]
        assert {end.detail for end in ends} == {"the event is over"}
    begun = STARTED + 60 * PER_LATENT
    assert part["begin_ns"] == FakeClock(ns=begun).wall_ns(), "named by its first moment"
    assert said == [f"an event: bumper; {part['file']}"]


def test_a_trigger_in_an_event_lets_it_go_on(tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    one = session(output)
    with one.file:
        one.go_on(30)
        assert one.file.trigger("first")
        one.go_on(7)
        assert not one.file.trigger("second")
        one.go_on(50)
    [part] = parts_of(output)
    found, why = content(tmp_path / part["file"])
    assert (found, why) == (list(range(47)), ["first", "second"])


def test_events_never_overlap_and_the_second_has_what_came_between(tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    one = session(output)
    with one.file:
        one.go_on(50)
        one.file.trigger("first")
        one.go_on(15)
        one.file.trigger("second")
        one.go_on(50)
    found = [content(path)[0] for path in parts_in(index_of(output))]
    assert found == [list(range(20, 60)), list(range(60, 75))]
    assert one.file.events == 2


def test_a_long_event_is_cut_into_parts(tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    plan = PartsPlan(events=True, split_s=10)
    one = session(output, plan=plan)
    with one.file:
        one.go_on(90)
        for _ in range(30):
            one.file.trigger("again")
            one.go_on(9)
        one.go_on(50)
    parts = [content(path)[0] for path in parts_in(index_of(output))]
    assert len(parts) >= 3 and max(map(len, parts)) <= 100
    kept = list(chain.from_iterable(parts))
    assert kept == list(range(60, 361)), "nothing is missing between parts"


def test_the_oldest_events_make_room(tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    one = session(output, plan=PartsPlan(events=True, keep_bytes=60_000))
    with one.file:
        for _ in range(12):
            one.go_on(60)
            one.file.trigger("again")
            one.go_on(20)
    parts = parts_of(output)
    assert len(parts) == 12 and 0 < sum(not part["removed"] for part in parts) < 12
    assert sum(part["bytes"] for part in parts if not part["removed"]) <= 60_000


def test_a_comparison_triggers_and_holds_the_event_open(tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    when = TriggerWhen.parse("estop>0.5")
    one = session(output, TriggerPlan(before_s=1, after_s=1, when=(when,)))
    with one.file:
        one.log(1, channel="estop")  # before the first frame there is nothing to keep
        one.go_on(40, lambda at: one.log(float("nan"), channel="estop"))
        one.go_on(20, lambda at: one.log(1, channel="estop"))
        one.go_on(30, lambda at: one.log(0, channel="estop"))
        one.go_on(5, lambda at: one.log(0.7, channel="estop"))
        one.go_on(30)
    found = [content(path) for path in parts_in(index_of(output))]
    assert [why for _, why in found] == [["estop>0.5"], ["estop>0.5"]]
    assert found[0][0] == list(range(20, 69)) and found[1][0][-1] == 103


def test_before_the_first_frame_there_is_nothing_to_keep(tmp_path: Path) -> None:
    one = session(tmp_path / "drive.mcap")
    with one.file, pytest.raises(UsageError, match="No frame has come yet"):
        one.file.trigger("early")


def test_what_an_event_began_with_is_in_the_file_at_once(tmp_path: Path) -> None:
    """As it is found after a kill -9: no tick and no close came."""
    output = tmp_path / "drive.mcap"
    one = session(output)
    one.go_on(45)
    one.file.trigger("bumper")
    [part] = parts_of(output)
    with Recording.open(tmp_path / part["file"]) as recording:
        assert not recording.indexed
        ours = [e for e in recording.entries(0) if isinstance(e, LatentRecord)]
        assert [(e.capture_time_ns - STARTED) // PER_LATENT for e in ours] == list(range(45))
        assert len(list(recording.samples(TRIGGERS))) == 1
    one.file.__exit__(None, None, None)


@pytest.mark.parametrize("room", [20_000, 40_000])  # while the ring is written; at the end
def test_a_disk_that_fills_leaves_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    output = tmp_path / "drive.mcap"
    one = session(output, TriggerPlan(before_s=100, after_s=1))
    written = os.pwrite

    def full(fd: int, data: Any, offset: int) -> int:
        if offset + len(data) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(fd, data, offset)

    def drive() -> None:
        with one.file:
            one.go_on(500)
            monkeypatch.setattr(os, "pwrite", full)
            one.file.trigger("bumper")

    with pytest.raises(OutputNotWritable, match="cannot be written any further: No space left"):
        drive()
    monkeypatch.undo()
    [part] = parts_of(output)
    assert not part["finished"] and part["bytes"] == (tmp_path / part["file"]).stat().st_size > 0
    with Recording.open(tmp_path / part["file"]) as recording:
        ours = [e for e in recording.entries(0) if isinstance(e, LatentRecord)]
    assert len(ours) >= 100
    for number, entry in enumerate(ours):
        assert (entry.capture_time_ns - STARTED) // PER_LATENT == number


def test_a_ring_that_is_full_is_told_once_and_what_is_kept_can_be_decoded(tmp_path: Path) -> None:
    said: list[str] = []
    output = tmp_path / "drive.mcap"
    one = session(
        output, TriggerPlan(before_s=1000, after_s=1, ring_bytes=100_000), said=said.append
    )
    with one.file:
        one.go_on(400)
        one.file.trigger("bumper")
        one.go_on(30)
    told = [text for text in said if "the ring is full at 0.1 MB" in text]
    assert len(told) == 1
    [path] = parts_in(index_of(output))
    with Recording.open(path) as recording:
        for source in (0, 1):
            first = next(recording.entries(source))
            assert isinstance(first, Marker) and first.starts_stream
    assert recover(path, tmp_path / "again.mcap")
