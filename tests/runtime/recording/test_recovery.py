"""recover: what is left of a recording, and what it says is missing."""

from __future__ import annotations

import struct
import sys
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import FSQ, PER_LATENT, SECOND, WALL, latents, record, write

from vidtok_edge.errors import OutputExists, RecordingBusy, RecordingError, UsageError
from vidtok_edge.runtime.recording import RecordingWriter
from vidtok_edge.runtime.recording.format.mcap_file import ChannelKind, McapFile
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.recovery import Recovered, _Channel, recover
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, SourceRecords


def kept(path: Path, source: int) -> list[int]:
    with Recording.open(path) as recording:
        assert recording.indexed and not recording.damage
        entries = list(recording.entries(source))
    assert isinstance(entries[-1], Marker) and entries[-1].kind == "end"
    return [entry.index for entry in entries if isinstance(entry, LatentRecord)]


def chunk_of(path: Path, number: int) -> tuple[int, int]:
    with Recording.open(path) as recording:
        place = recording.chunks[number]
    return place.offset, place.offset + place.length


def recovered(path: Path, data: bytes) -> tuple[Recovered, Path]:
    damaged, output = path.with_name("damaged.mcap"), path.with_name("recovered.mcap")
    damaged.write_bytes(data)
    return recover(damaged, output, force=True), output


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return record(tmp_path / "a.mcap")


def test_a_whole_recording_loses_nothing(whole: Path) -> None:
    found, output = recovered(whole, whole.read_bytes())
    assert found and not found.repaired and found.seconds == 3.0
    assert kept(output, 0) == kept(output, 1) == list(range(30))
    assert "0 known to be lost" in "\n".join(found.lines())


def test_a_lost_index_is_written_again(whole: Path) -> None:
    found, output = recovered(whole, whole.read_bytes()[:-100])
    assert found and found.repaired and kept(output, 1) == list(range(30))
    assert "the index was written again" in found.lines()[1]


def test_a_cut_file_is_ended_and_what_may_be_missing_is_said(whole: Path) -> None:
    begin, end = chunk_of(whole, 3)
    found, output = recovered(whole, whole.read_bytes()[: (begin + end) // 2])
    assert not found and kept(output, 0) == list(range(15))
    assert [source.ended for source in found.sources] == [False, False]
    assert "with up to 1000 s that were not on disk" in found.lines()[1]
    again = recover(output, whole.with_name("again.mcap"))
    assert again and kept(whole.with_name("again.mcap"), 0) == list(range(15))


def test_damage_in_the_middle_is_a_gap(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    begin, end = chunk_of(whole, 2)
    data[begin + 100] ^= 255
    found, output = recovered(whole, bytes(data))
    assert not found and found.damaged_bytes >= end - begin
    assert kept(output, 1) == [*range(10), *range(15, 30)]
    for source in found.sources:
        assert source.ended and source.lost_latents == 5
        (gap,) = source.gaps
        assert (gap.latents, round(gap.after_s, 3)) == (5, 0.9)
        assert gap.seconds == pytest.approx(6 * PER_LATENT / SECOND)


def test_a_lost_head_is_counted(whole: Path) -> None:
    found, output = recovered(whole, whole.read_bytes()[chunk_of(whole, 1)[0] :])
    assert not found and kept(output, 0) == list(range(5, 30))
    assert [(s.lost_latents, s.lost_markers) for s in found.sources] == [(5, 1), (5, 1)]


def test_a_lost_tail_is_counted_when_the_end_is_there(whole: Path) -> None:
    content = whole.read_bytes()
    found, output = recovered(
        whole, content[: chunk_of(whole, 4)[0]] + content[chunk_of(whole, 6)[0] :]
    )
    assert not found and kept(output, 1) == list(range(20))
    assert [(s.lost_latents, s.ended) for s in found.sources] == [(10, True)] * 2


def test_latents_lost_before_a_stream_without_any_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        writer.take(camera.start("start", 0, WALL))
        for i in range(10):
            write(writer, camera, latents(0, i))
            if i % 5 == 4:
                writer.flush()
        writer.take(camera.start("restart", SECOND, WALL + SECOND))
        writer.take(camera.end("ended", 2 * SECOND, WALL + 2 * SECOND))
    data = bytearray(path.read_bytes())
    data[chunk_of(path, 1)[0] + 100] ^= 1
    found, _ = recovered(path, bytes(data))
    (source,) = found.sources
    assert not found and source.ended and source.lost_latents == 5
    (gap,) = source.gaps
    assert (gap.after_s, gap.seconds, gap.latents) == (0.4, 0.6, 5)


@pytest.mark.parametrize("again", [1, 3, 6])
def test_a_chunk_that_is_there_twice_is_copied_once(whole: Path, again: int) -> None:
    content = whole.read_bytes()
    (begin, end), at = chunk_of(whole, 0), chunk_of(whole, again)[0]
    found, output = recovered(whole, content[:at] + content[begin:end] + content[at:])
    assert found and kept(output, 0) == kept(output, 1) == list(range(30))


def test_chunks_in_another_order_are_all_copied(whole: Path) -> None:
    content = whole.read_bytes()
    places = [chunk_of(whole, number)[0] for number in (1, 2, 3)]
    parts = [content[a:b] for a, b in pairwise([0, *places, len(content)])]
    found, output = recovered(whole, parts[0] + parts[2] + parts[1] + parts[3])
    assert found and sorted(kept(output, 0)) == list(range(30))
    assert "0 known to be lost" in found.lines()[2]


def test_a_copy_whose_messages_have_no_numbers_is_copied_whole(whole: Path, tmp_path: Path) -> None:
    """MCAP asks tools that number nothing to write 0."""
    copy, output = tmp_path / "copy.mcap", tmp_path / "out.mcap"
    with copy.open("wb") as file, Recording.open(whole) as recording:
        mcap = McapFile(file, list(recording.sources.values()))
        for message, entry in recording.messages():
            kind: ChannelKind = "latents" if isinstance(entry, LatentRecord) else "markers"
            mcap.add(
                entry.source,
                kind,
                message.data,
                log_time_ns=message.log_time,
                wall_time_ns=message.publish_time,
                sequence=0,
            )
        mcap.finish()
    for path, result in ((copy, output), (output, tmp_path / "again.mcap")):
        assert recover(path, result)
        assert kept(result, 0) == kept(result, 1) == list(range(30))


def test_a_malformed_record_in_a_sound_chunk_costs_the_rest_of_it(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    begin, end = chunk_of(whole, 2)
    size = 9 + 22 + 72 + FSQ.latent_bytes  # of a latent's record
    data[begin + 9 + 40 + 4 * size + 8] = 1  # a length of petabytes
    struct.pack_into("<I", data, begin + 9 + 24, zlib.crc32(data[begin + 9 + 40 : end]))
    found, output = recovered(whole, bytes(data))
    assert kept(output, 0) == [*range(12), *range(15, 30)]
    assert not found and found.damaged_bytes == end - begin
    assert [source.lost_latents for source in found.sources] == [3, 3]


def test_a_source_without_an_entry_is_ended_too(tmp_path: Path) -> None:
    path, once, twice = (tmp_path / f"{name}.mcap" for name in "abc")
    camera = SourceRecords(1)
    with RecordingWriter(path, FSQ, ["a", "b", "c"], flush_interval_s=1000) as writer:
        writer.take(camera.start("start", 0, WALL))
        write(writer, camera, latents(1, 0, count=3))
    found = recover(path, once)
    assert not found and [source.ended for source in found.sources] == [False] * 3
    assert recover(once, twice)
    assert kept(twice, 0) == [] and kept(twice, 1) == [0, 1, 2]


def test_lost_facts_of_one_source_are_those_of_the_others(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    at = -1
    while (at := data.find(b"rtsp://cam0", at + 1)) >= 0:
        data[at] ^= 1
    found, output = recovered(whole, bytes(data))
    assert not found  # the first chunk has its channels, and with them the name
    assert [s.name for s in found.sources] == ["unknown", "rtsp://cam1/live"]
    assert kept(output, 0) == kept(output, 1) == list(range(5, 30))


def test_nothing_readable_writes_nothing(whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mcap"
    for content in (b"", b"x" * 100, whole.read_bytes()[:40], whole.read_bytes()[:2400]):
        (tmp_path / "bad.mcap").write_bytes(content)
        with pytest.raises(RecordingError):
            recover(tmp_path / "bad.mcap", output)
        assert not output.exists() and not list(tmp_path.glob(".*"))


def test_an_output_that_is_there_is_kept(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mcap"
    other.write_bytes(b"mine")
    with pytest.raises(OutputExists):
        recover(whole, other)
    assert other.read_bytes() == b"mine"


def test_the_recording_itself_is_never_the_output(whole: Path, tmp_path: Path) -> None:
    content, link = whole.read_bytes(), tmp_path / "link.mcap"
    link.symlink_to(whole)
    for output in (whole, link):
        with pytest.raises(UsageError, match="is read here, and stays as it is"):
            recover(whole, output, force=True)
    assert whole.read_bytes() == content


def test_what_is_being_recorded_is_no_output(whole: Path, tmp_path: Path) -> None:
    live = tmp_path / "live.mcap"
    camera = SourceRecords(0)
    with RecordingWriter(live, FSQ, ["cam"]) as writer:
        writer.take(camera.start("start", 0, WALL))
        with pytest.raises(RecordingBusy, match="being recorded to"):
            recover(whole, live, force=True)
    with Recording.open(live) as recording:
        assert len(list(recording.entries())) == 1
    assert recover(whole, live, force=True)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_refused_or_recovered_with_true_numbers(
    whole: Path, data: st.DataObject
) -> None:
    content = whole.read_bytes()
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        if data.draw(st.booleans()):
            damaged[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
        else:
            del damaged[at : at + data.draw(st.integers(0, 3000))]
    try:
        found, output = recovered(whole, bytes(damaged))
    except RecordingError:
        return
    for source in found.sources:
        if not source.latents and not source.lost_latents:
            continue  # its facts alone were left
        indices = kept(output, source.number)
        assert len(indices) == source.latents
        known = 30 if source.ended else indices[-1] + 1 if indices else 0
        assert source.lost_latents == known - source.latents
    if found:
        assert len(found.sources) == 2 and all(s.latents == 30 for s in found.sources)


@pytest.mark.slow
def test_numbers_in_any_order_are_counted_in_a_pass() -> None:
    steps = [0]

    def count(frame: Any, event: str, arg: object) -> None:
        steps[0] += event == "call"

    channel = _Channel()
    sys.setprofile(count)
    try:
        for number in range(20_000, 0, -2):
            channel.add(number, number)
        gaps = list(channel.gaps(0))
    finally:
        sys.setprofile(None)
    assert [gap.latents for gap in gaps] == [2] + [1] * 9_999
    assert steps[0] < 10 * 10_000
