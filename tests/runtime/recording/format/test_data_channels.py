"""Data channels in a recording: what goes in comes out, and what is none is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from recordings import FSQ, SECOND, WALL, latents, write

from vidtok_edge.errors import RecordingError, StreamError
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.format.data_channels import (
    DataChannel,
    bytes_from_sample,
    check_channel_name,
    sample_from_bytes,
)
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

VALUES = st.lists(st.floats(allow_nan=False), min_size=1, max_size=9)


def numbers(values: Any, at_ns: int = 0, channel: str = "action") -> Sample:
    array = np.array(values, np.float64)
    return Sample(channel=channel, time_ns=at_ns, wall_time_ns=WALL + at_ns, values=array)


def event(text: str, at_ns: int = 0, channel: str = "task") -> Sample:
    return Sample(channel=channel, time_ns=at_ns, wall_time_ns=WALL + at_ns, text=text)


def recorded(path: Path, *samples: Sample, fields: tuple[str, ...] = ()) -> Path:
    """A camera of three latents, and samples."""
    with RecordingWriter(path, FSQ, ["cam"], compression="none") as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        for i in range(3):
            write(writer, camera, latents(0, i))
            if i == 1:
                for sample in samples:
                    writer.log(sample, fields if sample.values is not None else ())
                writer.flush()
        writer.take(camera.end("over", SECOND, WALL + SECOND))
    return path


@given(VALUES, st.integers(0, 1 << 62))
def test_numbers_come_back(values: list[float], at_ns: int) -> None:
    sample = numbers(values, at_ns)
    channel = DataChannel.of(sample)
    back = sample_from_bytes(bytes_from_sample(sample), channel, 7)
    assert back.values is not None
    np.testing.assert_array_equal(back.values, values)
    assert (back.channel, back.time_ns, back.log_time_ns) == ("action", at_ns, 7)
    assert DataChannel.from_map(channel.to_map()) == channel


@given(st.text(max_size=50))
def test_events_come_back(text: str) -> None:
    sample = event(text)
    back = sample_from_bytes(bytes_from_sample(sample), DataChannel.of(sample), 0)
    said = text.encode("utf-8", "replace").decode().replace("\0", " ")
    assert (back.values, back.text) == (None, said)


@given(st.binary(max_size=64), st.sampled_from([numbers([1.0, 2.0]), event("x")]))
def test_other_bytes_are_no_sample(data: bytes, like: Sample) -> None:
    channel = DataChannel.of(like)
    try:
        back = sample_from_bytes(data, channel, 0)
    except RecordingError:
        return
    assert bytes_from_sample(back)[20:] == data[20:] or like.values is not None


def test_a_recording_holds_them_in_order_and_on_its_clock(tmp_path: Path) -> None:
    samples = [numbers([i, math.nan], i * 10) for i in range(5)]
    path = recorded(tmp_path / "a.mcap", *samples, event("go", 7), fields=("x", "y"))
    with Recording.open(path) as recording:
        assert set(recording.data_channels) == {"action", "task"}
        action = recording.data_channel("action")
        assert (action.size, action.fields, action.topic) == (2, ("x", "y"), "/action")
        found = list(recording.samples("action"))
        assert [s.log_time_ns for s in found] == [WALL + i * 10 for i in range(5)]
        assert [s.values[0] for s in found if s.values is not None] == [0, 1, 2, 3, 4]
        assert [s.text for s in recording.samples("task")] == ["go"]
        assert len(list(recording.samples(start_ns=WALL + 10, end_ns=WALL + 30))) == 2
        assert next(recording.entries()).log_time_ns == WALL  # cameras as before
        with pytest.raises(RecordingError, match="no data channel 'state'; it has action, task"):
            list(recording.samples("state"))


def test_common_tools_read_them(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", numbers([0.5, -1.0], 3), event("go", 4))
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        found = {c.topic: m for _, c, _, m in reader.iter_decoded_messages(["/action", "/task"])}
    assert (found["/action"].values, found["/action"].time_ns) == ([0.5, -1.0], 3)
    assert found["/task"].text == "go"


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (numbers([1.0]), "action has 2 numbers in each sample, and got 1 number"),
        (event("x", channel="action"), "action has 2 numbers in each sample, and got an event"),
        (numbers([], channel="empty"), "empty has 0 values; allowed: 1 to 4096"),
        (numbers([1], channel="camera0/latents"), "camera0/latents is taken by a camera"),
        (numbers([1], channel="a b"), "'a b' is no name of a channel"),
        (event("x" * 70000), "An event of task has 70001 bytes; allowed: 65536"),
    ],
)
def test_what_is_no_sample_is_refused_and_harms_nothing(
    tmp_path: Path, sample: Sample, said: str
) -> None:
    with RecordingWriter(tmp_path / "a.mcap", FSQ, ["cam"]) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        writer.log(numbers([1.0, 2.0]))
        with pytest.raises(StreamError, match=said):
            writer.log(sample)
        writer.log(numbers([3.0, 4.0], 1))
        write(writer, camera, latents(0, 0))
    with Recording.open(tmp_path / "a.mcap") as recording:
        assert len(list(recording.samples("action"))) == 2


@pytest.mark.parametrize("name", ["/action", "", "a//b", "a/1", "ä", "a" * 101, "camera1/markers"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(StreamError):
        check_channel_name(name)


def test_a_file_that_was_cut_off_gives_what_was_flushed(tmp_path: Path) -> None:
    whole = recorded(tmp_path / "a.mcap", *(numbers([i], i) for i in range(9)))
    with Recording.open(whole) as recording:
        chunk = recording.chunks[0]
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: chunk.offset + chunk.length + 40])
    done = recover(cut, tmp_path / "new.mcap")
    [channel] = done.channels
    assert (channel.name, channel.samples, channel.lost) == ("action", 9, 0)
    assert "channel action: 9 samples, 0 known to be lost" in done.lines()
    assert not done.foreign
    with Recording.open(tmp_path / "new.mcap") as recording:
        assert [s.time_ns for s in recording.samples("action")] == list(range(9))


def test_a_damaged_chunk_costs_itself_alone(tmp_path: Path) -> None:
    """Also the one that says what the channel is."""
    path = tmp_path / "a.mcap"
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        for i in range(4):
            write(writer, camera, latents(0, i))
            writer.log(numbers([i], i))
            writer.flush()
        writer.take(camera.end("over", SECOND, WALL + SECOND))
    with Recording.open(path) as recording:
        chunk = recording.chunks[0]
    data = bytearray(path.read_bytes())
    data[chunk.offset + chunk.length - 3] ^= 1
    path.write_bytes(data)
    with Recording.open(path, use_index=False) as recording:
        assert recording.damage
        found = [s.values[0] for s in recording.samples("action") if s.values is not None]
        assert found == [1, 2, 3]
    done = recover(path, tmp_path / "new.mcap")
    assert [(c.name, c.samples, c.lost) for c in done.channels] == [("action", 3, 1)]
    assert not done


def test_a_later_format_is_said_and_cameras_are_read(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", numbers([1.0]))
    data = path.read_bytes()
    old, new = b"data_format\x01\x00\x00\x001", b"data_format\x01\x00\x00\x002"
    assert old in data
    path.write_bytes(data.replace(old, new))  # chunks and index have checksums
    with Recording.open(path) as recording:
        assert list(recording.entries()) or recording.damage
