"""A recording as it is read: whole, cut anywhere, and damaged on purpose."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from costs import peak_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import McapRecord
from mcap.writer import CompressionType, Writer
from recordings import FSQ, PER_LATENT, SECOND, WALL, record, values_of

from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.recording.format.mcap_file import checksum
from vidtok_edge.runtime.recording.format.places import ChunkPlace
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.format.scan import MAX_RECORD_BYTES, Scan
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("whole") / "a.mcap")


def key(entry: Record) -> tuple[int, str, int, int]:
    kind = entry.kind if isinstance(entry, Marker) else "latent"
    return entry.source, kind, entry.stream, entry.index


def read(path: Path) -> list[tuple[int, str, int, int]]:
    """Every entry, checked against what was recorded."""
    with Recording.open(path) as recording:
        found = list(recording.entries())
    for entry in found:
        if isinstance(entry, LatentRecord):
            np.testing.assert_array_equal(entry.values, values_of(entry.source, entry.index))
    return [key(entry) for entry in found]


def test_sources_and_their_tokenizer(whole: Path) -> None:
    with Recording.open(whole) as recording:
        assert recording.indexed and not recording.damage
        assert [s.name for s in recording.sources.values()] == [
            "rtsp://cam0/live",
            "rtsp://cam1/live",
        ]
        assert recording.source(1).tokenizer == FSQ
        with pytest.raises(RecordingError, match=r"no source 2; it has 0 \(rtsp"):
            recording.source(2)
    assert b"secret" not in whole.read_bytes()


def test_a_range_of_time_reads_only_its_chunks(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recording.open(whole) as recording:
        read_chunks: list[int] = []
        records = Scan.records

        def counted(scan: Scan, place: ChunkPlace) -> Iterator[McapRecord]:
            read_chunks.append(place.offset)
            return records(scan, place)

        monkeypatch.setattr(Scan, "records", counted)
        start, end = WALL + 12 * PER_LATENT, WALL + 14 * PER_LATENT
        got = [e.index for e in recording.entries(1, start_ns=start, end_ns=end)]
    assert got == [12, 13] and len(read_chunks) == 1


def test_a_file_cut_anywhere_gives_a_prefix(whole: Path, tmp_path: Path) -> None:
    data, all_entries = whole.read_bytes(), read(whole)
    path = tmp_path / "cut.mcap"
    lengths = set()
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        try:
            found = read(path)
        except RecordingError:
            assert size < 1500  # before the facts of the second source are whole
            continue
        if size > 2500:
            assert found == all_entries[: len(found)]
        lengths.add(len(found))
    assert len(lengths) >= 6


def test_cut_after_a_chunk_keeps_that_chunk(whole: Path, tmp_path: Path) -> None:
    with Recording.open(whole) as recording:
        places = list(recording.chunks)
    path = tmp_path / "cut.mcap"
    path.write_bytes(whole.read_bytes()[: places[2].offset + places[2].length])
    assert len(read(path)) == 2 + 2 * 15


def test_a_damaged_chunk_costs_itself_alone(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    with Recording.open(whole) as recording:
        place = recording.chunks[2]
    data[place.offset + 200] ^= 1
    path = tmp_path / "damaged.mcap"
    path.write_bytes(data)
    expected = [entry for entry in read(whole) if not 10 <= entry[3] < 15]
    for use_index in (True, False):
        with Recording.open(path, use_index=use_index) as recording:
            assert [key(entry) for entry in recording.entries()] == expected
            assert recording.damage
            assert recording.damage[0].offset == place.offset


def indexes_behind(data: bytes | bytearray, place: ChunkPlace) -> list[int]:
    """Where the message indexes of a chunk lie."""
    found, offset = [], place.offset + place.length
    while data[offset] == Opcode.MESSAGE_INDEX:
        found.append(offset)
        offset += 9 + struct.unpack_from("<Q", data, offset + 1)[0]
    return found


def chunks_of(path: Path, data: bytes | bytearray) -> list[ChunkPlace]:
    """The chunks that are found without the file's index."""
    path.write_bytes(data)
    scan = Scan(path)
    try:
        return [item for item in scan.walk() if isinstance(item, ChunkPlace)]
    finally:
        scan.close()


def test_a_wrong_length_between_chunks_costs_no_chunk(tmp_path: Path) -> None:
    """Every bit of the lengths of message indexes, which no checksum covers."""
    path = record(tmp_path / "a.mcap", 300)
    data = bytearray(path.read_bytes())
    chunks = chunks_of(path, data)
    assert len(chunks) == 61
    for offset in indexes_behind(data, chunks[10]) + indexes_behind(data, chunks[60]):
        for bit in range(40):
            data[offset + 1 + bit // 8] ^= 1 << bit % 8
            assert chunks_of(path, data) == chunks
            data[offset + 1 + bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize(("opcode", "length"), [(Opcode.DATA_END, 4), (Opcode.FOOTER, 20)])
def test_an_end_that_chunks_follow_is_none(
    whole: Path, tmp_path: Path, opcode: Opcode, length: int
) -> None:
    data, path = bytearray(whole.read_bytes()), tmp_path / "a.mcap"
    chunks = chunks_of(path, data)
    offset = indexes_behind(data, chunks[2])[-1]
    struct.pack_into("<BQ", data, offset, opcode, length)
    assert chunks_of(path, data) == chunks
    with Recording.open(path, use_index=False) as recording:
        assert recording.damage and len(list(recording.entries())) == 64


def test_times_of_chunks_are_those_of_their_messages(whole: Path, tmp_path: Path) -> None:
    """What a chunk says of them is outside of its checksum."""
    data, path = bytearray(whole.read_bytes()), tmp_path / "a.mcap"
    chunks = chunks_of(path, data)
    for chunk in chunks:
        data[chunk.offset + 9 + 7] ^= 1
        data[chunk.offset + 9 + 15] ^= 1
    assert chunks_of(path, data) == chunks
    with Recording.open(path, use_index=False) as recording:
        assert (recording.start_ns, recording.end_ns) == (WALL, WALL + 3 * SECOND)


def patched(data: bytearray, place: ChunkPlace, at: int, value: bytes) -> None:
    """Write `value` into the records of a chunk, and make its checksum right again."""
    begin, end = place.offset + 9 + 40, place.offset + place.length
    data[begin + at : begin + at + len(value)] = value
    struct.pack_into("<I", data, place.offset + 9 + 24, zlib.crc32(data[begin:end]))


def test_a_record_that_is_cut_off_in_a_sound_chunk_is_damage(whole: Path, tmp_path: Path) -> None:
    data, path = bytearray(whole.read_bytes()), tmp_path / "a.mcap"
    place = chunks_of(path, data)[2]
    size = 9 + 22 + 72 + FSQ.latent_bytes  # of a latent's record
    patched(data, place, 3 * size + 1, b"\xff")
    expected = [entry for entry in read(whole) if not 10 <= entry[3] < 15]
    path.write_bytes(data)
    for use_index in (True, False):
        with Recording.open(path, use_index=use_index) as recording:
            found = [key(entry) for entry in recording.entries()]
            assert [d.offset for d in recording.damage] == [place.offset]
        assert len(found) == len(expected) + 3 and set(expected) < set(found)


def test_a_message_that_makes_no_sense_is_counted_and_left_out(whole: Path, tmp_path: Path) -> None:
    data, path = bytearray(whole.read_bytes()), tmp_path / "a.mcap"
    patched(data, chunks_of(path, data)[2], 9 + 22 + 4, struct.pack("<Q", 99))  # latent 10 is 99
    path.write_bytes(data)
    with Recording.open(path) as recording:
        for _ in range(2):
            found = [key(entry) for entry in recording.entries()]
            assert recording.unreadable == 1 and not recording.damage
    assert found == [entry for entry in read(whole) if entry != (0, "latent", 0, 10)]


def test_a_chunk_that_is_there_twice_is_read_once(whole: Path, tmp_path: Path) -> None:
    data, path = whole.read_bytes(), tmp_path / "a.mcap"
    places = chunks_of(path, data)
    first = data[places[0].offset : places[0].offset + places[0].length]
    path.write_bytes(data[: places[3].offset] + first + data[places[3].offset :])
    assert read(path) == read(whole)


def test_a_file_without_its_head_is_read(whole: Path, tmp_path: Path) -> None:
    with Recording.open(whole) as recording:
        second = recording.chunks[1].offset
    path = tmp_path / "headless.mcap"
    path.write_bytes(whole.read_bytes()[second:])
    assert len(read(path)) == 2 * 25 + 2


@pytest.mark.slow
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_bytes_never_crash_the_reader(
    whole: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """What is read was recorded, or the file is refused: nothing else, and nothing invented."""
    damaged = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged)))
        match data.draw(st.sampled_from(["set", "cut", "insert", "remove"])):
            case "set":
                damaged[at : at + 8] = data.draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del damaged[at:]
            case "insert":
                damaged[at:at] = data.draw(st.binary(max_size=40))
            case "remove":
                del damaged[at : at + data.draw(st.integers(0, 300))]
    path = tmp_path / "fuzzed.mcap"
    path.write_bytes(damaged)
    for use_index in (True, False):
        try:
            with Recording.open(path, use_index=use_index) as recording:
                for entry in recording.entries():
                    if isinstance(entry, LatentRecord):
                        np.testing.assert_array_equal(
                            entry.values, values_of(entry.source, entry.index)
                        )
        except RecordingError:
            pass


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_chunks_with_a_right_checksum_never_crash_the_reader(
    whole: Path, tmp_path: Path, data: st.DataObject
) -> None:
    damaged = bytearray(whole.read_bytes())
    with Recording.open(whole) as recording:
        place = recording.chunks[0]
    begin, end = place.offset + 9 + 40, place.offset + place.length
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(begin, end - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    struct.pack_into("<I", damaged, place.offset + 9 + 24, zlib.crc32(damaged[begin:end]))
    path = tmp_path / "fuzzed.mcap"
    path.write_bytes(damaged)
    try:
        with Recording.open(path) as recording:
            assert len(list(recording.entries())) <= 64
    except RecordingError:
        pass


@pytest.mark.parametrize("size", [1 << 32, 1 << 62, MAX_RECORD_BYTES])
def test_a_length_of_gigabytes_allocates_nothing(whole: Path, tmp_path: Path, size: int) -> None:
    data = bytearray(whole.read_bytes())
    with Recording.open(whole) as recording:
        place = recording.chunks[1]
    for offset in (1, 9 + 16, 9 + 32):  # of the record, of its content, of its data
        struct.pack_into("<Q", data, place.offset + offset, size)
    path = tmp_path / "large.mcap"
    path.write_bytes(data)
    assert len(read(path)) == 64 - 10
    assert peak_bytes(lambda: read(path)) < 8 << 20


@pytest.mark.slow
def test_a_chunk_of_more_than_64_mib_is_not_read(whole: Path, tmp_path: Path) -> None:
    """Also where the file is as long as the chunk claims."""
    data = bytearray(whole.read_bytes())
    with Recording.open(whole) as recording:
        place = recording.chunks[5]
    size = 150 << 20
    for offset, less in ((1, 0), (9 + 16, 40), (9 + 32, 40)):
        struct.pack_into("<Q", data, place.offset + offset, size - less)
    path = tmp_path / "sparse.mcap"
    path.write_bytes(data[: place.offset + place.length])
    os.truncate(path, 200 << 20)
    assert peak_bytes(lambda: read(path)) < 8 << 20


@pytest.mark.parametrize("compression", [CompressionType.ZSTD, CompressionType.LZ4])
def test_a_copy_by_another_tool_is_read(
    whole: Path, tmp_path: Path, compression: CompressionType
) -> None:
    """Compressed, its channels numbered anew, and with a topic of somebody else's."""
    path = tmp_path / "copy.mcap"
    with whole.open("rb") as source, path.open("wb") as file:
        reader = make_reader(source)
        writer = Writer(file, compression=compression, chunk_size=2000)
        writer.start()
        with Recording.open(whole) as recording:
            for facts in recording.sources.values():
                plain = facts.to_map()
                writer.add_metadata("vidtok_edge.source", {**plain, "crc32": checksum(plain)})
        other = writer.register_channel("/imu", "json", 0)
        channels: dict[int, int] = {}
        for _, channel, message in reader.iter_messages(log_time_order=False):
            if channel.id not in channels:
                channels[channel.id] = writer.register_channel(channel.topic, "cdr", 0)
            writer.add_message(other, message.log_time, b"{}", 0)
            writer.add_message(channels[channel.id], message.log_time, message.data, 0)
        writer.finish()  # type: ignore[no-untyped-call]
    assert read(path) == read(whole)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"hello", "not a recording"),
        (b"\x89MCAP0\r\n", "holds nothing"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes | None, match: str) -> None:
    path = tmp_path / "x.mcap"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=match):
        Recording.open(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="not a regular file"):
        Recording.open(tmp_path)


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "future.mcap"
    facts = {"format": "3"}
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_metadata("vidtok_edge.source", {**facts, "crc32": checksum(facts)})
        writer.finish()  # type: ignore[no-untyped-call]
    with pytest.raises(RecordingError, match="format '3'; this toolkit reads 1 and 2"):
        Recording.open(path)


@pytest.mark.slow
def test_reading_an_hour_holds_a_chunk_at_a_time(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 1500, chunk=10)
    for use_index in (True, False):
        with Recording.open(path, use_index=use_index) as recording:
            assert sum(1 for _ in recording.entries()) == 3004
            peak = peak_bytes(lambda: sum(1 for _ in recording.entries()))
        assert peak < 200_000  # the file has 400 kB, a chunk 3 kB


def test_time_is_that_of_the_recording(whole: Path) -> None:
    with Recording.open(whole) as recording:
        assert recording.end_ns - recording.start_ns == 3 * SECOND
        begin = recording.stream_start(1, recording.end_ns)
        assert begin is not None and (begin.log_time_ns, begin.source) == (WALL, 1)
        assert recording.stream_start(1, WALL - 1) is None


@pytest.mark.parametrize("compression", ["none", "zstd", "lz4"])
def test_a_recording_is_read_at_random_for_ever(
    compression: Literal["none", "zstd", "lz4"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a chunk costs is paid once: training reads each thousands of times."""
    monkeypatch.setattr("vidtok_edge.runtime.recording.format.scan._WORK_AT_LEAST", 0)
    monkeypatch.setattr("vidtok_edge.runtime.recording.format.scan._WORK_PER_BYTE", 32)
    with Recording.open(record(tmp_path / "a.mcap", 10, compression=compression)) as recording:
        for _ in range(100):
            assert sum(1 for _ in recording.entries(0)) == 12
