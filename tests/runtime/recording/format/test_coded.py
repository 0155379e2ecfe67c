"""Recordings whose tokens are coded: read as they were written, whatever happened to the file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.records import Channel, Message
from mcap.writer import CompressionType, Writer
from recordings import FSQ, KL, SECOND, WALL, record, values_of

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.coding.latent_coder import LatentCoder
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.format import coded_runs, mcap_file
from vidtok_edge.runtime.recording.format.coded_runs import CodedRuns
from vidtok_edge.runtime.recording.format.mcap_file import McapFile, SourceFacts
from vidtok_edge.runtime.recording.format.messages import bytes_from_latent
from vidtok_edge.runtime.recording.format.places import ChunkPlace
from vidtok_edge.runtime.recording.format.scan import Scan
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.streaming.records import LatentRecord

CONFORMANCE = Path(__file__).parents[3] / "conformance"
EXPECTED = json.loads((CONFORMANCE / "expected.json").read_text("utf-8"))


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """Two sources, 30 latents each, chunks of five."""
    return record(tmp_path / "coded.mcap", code="entropy")


def latents_of(path: Path, source: int = 0, **part: Any) -> list[LatentRecord]:
    with Recording.open(path) as recording:
        found = list(recording.entries(source, **part))
    return [entry for entry in found if isinstance(entry, LatentRecord)]


def right(latents: list[LatentRecord]) -> list[int]:
    """The numbers of latents, all of whose tokens are as they were recorded."""
    for latent in latents:
        assert (latent.values == values_of(latent.source, latent.index)).all()
    return [latent.index for latent in latents]


def alone(recording: Recording) -> list[int]:
    """The latents of source 1, each chunk read as if it were the only one, the last one first."""
    found: list[LatentRecord] = []
    for chunk in reversed(recording.chunks):
        recording.chunks = [chunk]
        found += [e for e in recording.entries(1) if isinstance(e, LatentRecord)]
    assert not recording.unreadable
    return sorted(right(found))


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("use_index", [True, False])
def test_conformance(name: str, use_index: bool) -> None:
    with Recording.open(CONFORMANCE / name, use_index=use_index) as recording:
        for number, expected in EXPECTED[name].items():
            entries = list(recording.entries(int(number)))
            tokens = [e.values.astype("<i4") for e in entries if isinstance(e, LatentRecord)]
            assert len(tokens) == expected["latents"] and not recording.unreadable
            found = hashlib.sha256(b"".join(one.tobytes() for one in tokens)).hexdigest()
            assert found == expected["tokens_sha256"]


def test_a_code_of_the_future_is_refused() -> None:
    with pytest.raises(RecordingError, match=r"code 'entropy', version '2'; this toolkit reads"):
        Recording.open(CONFORMANCE / "entropy-newer.mcap")


def messages_of(path: Path) -> Iterator[tuple[Channel, Message]]:
    with closing(Scan(path)) as scan:
        channels = {one.id: one for one in scan.summary() or [] if isinstance(one, Channel)}
        for place in scan.walk():
            if isinstance(place, ChunkPlace):
                for message in scan.records(place):
                    if isinstance(message, Message):
                        yield channels[message.channel_id], message


def copied(
    path: Path,
    output: Path,
    *more: Path,
    chunk: int = 1 << 20,
    keep: Callable[[Message], bool] = lambda message: True,
    **options: Any,
) -> Path:
    """As a tool for MCAP copies and merges recordings: other chunks, channels numbered anew."""
    with output.open("wb") as file:
        writer = Writer(file, chunk_size=chunk, compression=CompressionType.NONE, **options)
        writer.start("ros2", "a tool")
        for one in (path, *more):
            known: dict[int, int] = {}
            for channel, message in messages_of(one):
                if channel.id not in known:
                    known[channel.id] = writer.register_channel(
                        channel.topic, "cdr", 0, channel.metadata
                    )
                if keep(message):
                    writer.add_message(
                        known[channel.id],
                        message.log_time,
                        message.data,
                        message.publish_time,
                        message.sequence,
                    )
        writer.finish()  # type: ignore[no-untyped-call]
    return output


def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mcap_file, "CODE_VERSION", 2)
    path = record(tmp_path / "newer.mcap", 5, sources=1, code="entropy")
    monkeypatch.undo()
    return path


def test_of_merged_sources_only_the_one_of_the_future_is_refused(
    coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(coded, tmp_path / "merged.mcap", newer(tmp_path, monkeypatch))
    assert right(latents_of(path)) == list(range(30))
    with Recording.open(path) as recording:
        assert sorted(recording.sources) == [0, 1]
        with pytest.raises(RecordingError, match=r"has no source 2; .* version '2'"):
            recording.source(2)


def test_the_channel_says_the_code_and_its_version(coded: Path, tmp_path: Path) -> None:
    plain = record(tmp_path / "plain.mcap", 1)
    for path, said in ((coded, ("2", "entropy", "1")), (plain, ("1", None, None))):
        with Recording.open(path) as recording:
            facts = recording.source(0).to_map()
        assert tuple(map(facts.get, ("format", "code", "code_version"))) == said
        assert SourceFacts.from_map(facts).to_map() == facts


def test_every_chunk_is_read_alone(coded: Path) -> None:
    with Recording.open(coded) as recording:
        assert len(recording.chunks) > 5
        assert alone(recording) == list(range(30))


def test_chunks_that_fill_up_are_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcap_file, "CHUNK_BYTES", 1500)
    path = record(tmp_path / "a.mcap", chunk=1000, code="entropy")
    with Recording.open(path) as recording:
        assert len(recording.chunks) > 4
        assert alone(recording) == list(range(30))


@pytest.mark.parametrize("chunk", [1, 700, 1 << 20])
@pytest.mark.parametrize("start", [0.05, 0.8, 1.21, 2.9])
def test_a_part_has_the_tokens_of_the_whole(
    coded: Path, tmp_path: Path, start: float, chunk: int
) -> None:
    """Also of a copy in other chunks, where it begins in the middle of a run."""
    path = copied(coded, tmp_path / "copy.mcap", chunk=chunk)
    at_ns = WALL + round(start * SECOND)
    wanted = [one.index for one in latents_of(path) if one.log_time_ns >= at_ns]
    assert wanted and right(latents_of(path, start_ns=at_ns)) == wanted
    assert right(latents_of(path, end_ns=at_ns)) == list(range(30 - len(wanted)))


def test_without_chunks(coded: Path, tmp_path: Path) -> None:
    path = copied(coded, tmp_path / "copy.mcap", use_chunking=False)
    assert right(latents_of(path, 1)) == list(range(30))


def test_latents_without_values(coded: Path) -> None:
    found = latents_of(coded, values=False)
    assert [one.index for one in found] == list(range(30))
    assert not any(one.values.size for one in found)
    times = [(one.log_time_ns, one.stamp, one.frames_real) for one in latents_of(coded)]
    assert [(one.log_time_ns, one.stamp, one.frames_real) for one in found] == times


def test_a_damaged_chunk_costs_itself_alone(coded: Path, tmp_path: Path) -> None:
    with Recording.open(coded) as recording:
        place = recording.chunks[2]
    data = bytearray(coded.read_bytes())
    data[place.offset + place.length // 2] ^= 1
    coded.write_bytes(data)
    left = [*range(10), *range(15, 30)]
    assert right(latents_of(coded)) == left
    done = recover(coded, tmp_path / "whole.mcap")
    assert [source.lost_latents for source in done.sources] == [5, 5]
    assert right(latents_of(tmp_path / "whole.mcap")) == left


def test_what_depends_on_a_lost_latent_is_lost_and_never_garbage(
    coded: Path, tmp_path: Path
) -> None:
    def keep(message: Message) -> bool:
        return not (message.sequence == 12 and len(message.data) > 75)

    path = copied(coded, tmp_path / "copy.mcap", keep=keep)
    left = [*range(12), *range(15, 30)]
    for source in (0, 1):
        with Recording.open(path) as recording:
            entries = list(recording.entries(source))
            assert recording.unreadable == 2  # 13 and 14
        assert right([e for e in entries if isinstance(e, LatentRecord)]) == left
    done = recover(path, tmp_path / "whole.mcap")
    assert [source.lost_latents for source in done.sources] == [3, 3] and done.unreadable == 4
    for source in (0, 1):
        assert right(latents_of(tmp_path / "whole.mcap", source)) == left


def test_a_recovered_recording_is_coded_too(coded: Path, tmp_path: Path) -> None:
    output = tmp_path / "whole.mcap"
    assert recover(coded, output)
    with Recording.open(output) as recording:
        assert recording.source(1).code == "entropy"
    assert right(latents_of(output)) == right(latents_of(output, 1)) == list(range(30))


def test_a_file_that_was_cut_off(coded: Path, tmp_path: Path) -> None:
    with Recording.open(coded) as recording:
        place = recording.chunks[4]
    coded.write_bytes(coded.read_bytes()[: place.offset + 40])
    assert right(latents_of(coded)) == list(range(20))
    assert not recover(coded, tmp_path / "whole.mcap")
    assert right(latents_of(tmp_path / "whole.mcap")) == list(range(20))


def test_tokens_without_planes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="planes of 2 to 8 levels"):
        RecordingWriter(tmp_path / "a.mcap", KL, ["cam"], code="entropy")
    assert not (tmp_path / "a.mcap").exists()


def facts() -> SourceFacts:
    """Of latents of 2^28 tokens."""
    tokenizer = replace(FSQ, height=1 << 14, width=1 << 14, grid_height=1 << 14, grid_width=1 << 14)
    return SourceFacts(0, 1, "cam", tokenizer, 1.0, "", "entropy")


@pytest.mark.slow
def test_a_file_that_asks_for_much_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes claim to be a latent of 2^18 tokens; or hundreds of 2^14 are all alike."""
    monkeypatch.setattr(coded_runs, "_DIGITS_AT_LEAST", 1 << 20)
    [small] = [one for one in latents_of(CONFORMANCE / "entropy-robot.mcap")[:1]]
    large = replace(small, values=np.full((128, 128), 4 * 0o11111, np.int32))
    grid = replace(FSQ, height=128, width=128, grid_height=128, grid_width=128)
    wide = replace(FSQ, height=512, width=512, grid_height=512, grid_width=512)
    data = bytes_from_latent(large, grid, LatentCoder(grid.levels, 128, 128))
    for number, (tokenizer, count) in enumerate([(wide, 4), (grid, 300)]):
        path = tmp_path / f"{number}.mcap"
        with path.open("wb") as file:
            mcap = McapFile(file, [replace(facts(), tokenizer=tokenizer)])
            for _ in range(count):
                mcap.add(0, "latents", data, log_time_ns=1, wall_time_ns=1)
            mcap.finish()
        with Recording.open(path) as recording:
            began = time.process_time()
            with pytest.raises(RecordingError, match="is not read to its end"):
                list(recording.entries())
            assert time.process_time() - began < 60


def test_a_latent_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        mcap = McapFile(file, [facts()])
        mcap.add(0, "latents", bytes(80), log_time_ns=1, wall_time_ns=1)
        mcap.finish()
    with pytest.raises(RecordingError, match=r"16384x16384 tokens of levels .* cannot be coded"):
        Recording.open(path)


def test_work_is_bounded_by_what_is_stored() -> None:
    """A few bytes could ask for a latent of 2^28 tokens."""
    from vidtok_edge.bounded import TooMuchWork

    runs = CodedRuns({0: facts()}, 1 << 20, lambda source: [])
    with pytest.raises(TooMuchWork):
        runs.coder(0, bytes(72) + b"\1\0" + bytes(100))


def test_reading_back_is_asked_for_once_and_bounded() -> None:
    asked = []

    def earlier(source: int) -> Iterator[bytes]:
        asked.append(source)
        while True:
            yield bytes(72) + b"\1\7\0\0"

    small = replace(facts(), tokenizer=FSQ)
    runs = CodedRuns({0: small}, 1 << 20, earlier)
    for _ in range(3):
        runs.coder(0, bytes(72) + b"\1\7\0\0")
    assert asked == [0]


def test_latents_whose_values_are_asked_for(coded: Path) -> None:
    wanted = [3, 4, 13, 29]
    found = latents_of(coded, values=lambda latent: latent.index in wanted)
    assert [one.index for one in found] == list(range(30))
    assert right([one for one in found if one.values.size]) == wanted
