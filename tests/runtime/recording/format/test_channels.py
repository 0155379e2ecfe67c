"""Whose a channel is, in recordings that other tools copied, cut and merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from recordings import FSQ, KL, PER_LATENT, WALL, record

from vidtok_edge.runtime.recording.format import channels
from vidtok_edge.runtime.recording.format.mcap_file import Code, kind_of
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.streaming.records import LatentRecord

FIELD = Path(__file__).parents[3] / "field" / "recordings"
Counts = dict[int, tuple[str, int, int]]


def counts(path: Path, *, use_index: bool = True) -> Counts:
    """Name, latents and markers of each source."""
    with Recording.open(path, use_index=use_index) as recording:
        found = Counter((e.source, isinstance(e, LatentRecord)) for e in recording.entries())
        assert not recording.damage and not recording.unreadable
        return {n: (s.name, found[n, True], found[n, False]) for n, s in recording.sources.items()}


def both(path: Path) -> Counts:
    """As the index tells, and as the file tells without it."""
    with_index = counts(path)
    assert counts(path, use_index=False) == with_index
    return with_index


def merged(
    output: Path,
    *inputs: Path,
    topic: Callable[[str], str] = str,
    foreign: int = 0,
    foreign_topic: str = "/joint_states",
    metadata: bool = True,
    **options: Any,
) -> Path:
    """A copy of recordings in one file, as the `mcap` package makes it."""
    with output.open("wb") as file:
        writer = Writer(file, **options)
        writer.start("ros2")
        for path in inputs:
            channels: dict[int, int] = {}
            with path.open("rb") as source:
                for schema, channel, message in make_reader(source).iter_messages():
                    assert schema is not None
                    if channel.id not in channels:
                        channels[channel.id] = writer.register_channel(
                            topic(channel.topic),
                            "cdr",
                            writer.register_schema(schema.name, schema.encoding, schema.data),
                            channel.metadata if metadata else {},
                        )
                    at = (message.log_time, message.data, message.publish_time, message.sequence)
                    writer.add_message(channels[channel.id], *at)
        if foreign:
            schema_id = writer.register_schema("sensor_msgs/msg/JointState", "ros2msg", b"string a")
            joints = writer.register_channel(foreign_topic, "cdr", schema_id, {"arm": "left"})
            for number in range(foreign):
                writer.add_message(joints, 10 + number, b"data", 20 + number, number)
        writer.finish()  # type: ignore[no-untyped-call]
    return output


def test_two_merged_recordings_are_three_cameras(tmp_path: Path) -> None:
    """Both have a source 0, and the tool kept their numbers."""
    expected = {0: ("clip_robot.mp4", 9, 2), 1: ("clip_film.mp4", 9, 3), 2: ("-", 4, 8)}
    path = FIELD / "merged-two-recordings.mcap"
    assert both(path) == expected
    with Recording.open(path) as recording:
        indices = [
            [e.index for e in recording.entries(number) if isinstance(e, LatentRecord)]
            for number in recording.sources
        ]
    assert indices == [[*range(9)], [*range(7), 0, 1], [*range(4)]]
    found = recover(path, tmp_path / "out.mcap")
    assert found and sum(source.latents for source in found.sources) == 22
    assert both(tmp_path / "out.mcap") == expected


@pytest.mark.parametrize("name", ["two", "copy-without-metadata"])
def test_a_copy_without_metadata_records_is_read_as_the_recording(name: str) -> None:
    expected = {0: ("clip_robot.mp4", 9, 2), 1: ("clip_film.mp4", 9, 3)}
    assert both(FIELD / f"{name}.mcap") == expected


@pytest.mark.parametrize(
    "options",
    [
        {"use_chunking": False},
        {"use_chunking": False, "use_statistics": False},
        {"repeat_channels": False},
        {"use_statistics": False},
        {"enable_crcs": False},
        {"topic": lambda name: "/left_arm" + name},
    ],
)
def test_copies_of_every_layout_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    """Without chunks, checksums, an index of channels or statistics, with topics moved."""
    path = merged(tmp_path / "b.mcap", record(tmp_path / "a.mcap", 9), **options)
    assert both(path) == {0: ("rtsp://cam0/live", 9, 2), 1: ("rtsp://cam1/live", 9, 2)}


def test_two_recordings_of_the_same_camera_stay_two(tmp_path: Path) -> None:
    parts = [record(tmp_path / f"{n}.mcap", n, sources=1) for n in (4, 7)]
    path = merged(tmp_path / "both.mcap", *parts)
    assert both(path) == {0: ("rtsp://cam0/live", 4, 2), 1: ("rtsp://cam0/live", 7, 2)}
    assert recover(path, tmp_path / "out.mcap")
    assert both(tmp_path / "out.mcap") == both(path)


def test_recordings_of_before_there_were_names_of_them_stay_two(tmp_path: Path) -> None:
    """Their facts are the same: each pair of channels is a source."""
    part = FIELD / "drops-continue.mcap"
    path = merged(tmp_path / "both.mcap", part, part)
    assert both(path) == {0: ("-", 4, 8), 1: ("-", 4, 8)}


def test_sources_of_other_tokenizers_are_read_with_theirs(tmp_path: Path) -> None:
    parts = [record(tmp_path / f"{t.latent}.mcap", 3, sources=1, tokenizer=t) for t in (FSQ, KL)]
    path = merged(tmp_path / "both.mcap", *parts)
    assert [latents for _, latents, _ in both(path).values()] == [3, 3]


def test_files_put_one_behind_another(tmp_path: Path) -> None:
    """`cat` makes no MCAP file; what is sound in it is told apart all the same."""
    parts = [record(tmp_path / f"{n}.mcap", n, sources=1) for n in (4, 7)]
    path = tmp_path / "both.mcap"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with Recording.open(path) as recording:
        found = Counter(e.source for e in recording.entries() if isinstance(e, LatentRecord))
    assert found == {0: 4, 1: 7}


def test_many_files_put_one_behind_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source has latents of another one, also where there are more than are told apart."""
    parts = [record(tmp_path / f"{n}.mcap", n, sources=1, chunk=99) for n in range(3, 23)]
    path = tmp_path / "all.mcap"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))

    def found() -> tuple[list[int], int]:
        with Recording.open(path) as recording:
            counted = Counter(e.source for e in recording.entries() if isinstance(e, LatentRecord))
            return list(counted.values()), recording.unreadable

    assert found() == ([*range(3, 23)], 0)
    monkeypatch.setattr(channels, "_MAX_EPOCHS", 8)
    counted, unreadable = found()
    assert counted == [*range(3, 3 + len(counted))] and 0 < len(counted) < 20 and unreadable


@pytest.mark.parametrize("code", ["packed", "entropy"])
@pytest.mark.parametrize("chunk_size", [1, 1000, 1 << 20])
@pytest.mark.parametrize("put_together", [False, True])
def test_cuts_that_overlap_give_each_latent_once(
    code: Code, chunk_size: int, put_together: bool, tmp_path: Path
) -> None:
    """As tools merge them: by time, and channels that are alike are one, or each by itself."""
    whole, path = record(tmp_path / "whole.mcap", 20, code=code), tmp_path / "cuts.mcap"
    found: list[tuple[int, Any, Any, Any]] = []
    for cut, (begin, end) in enumerate(((0, 12), (8, 99))):
        with whole.open("rb") as file:
            found += [
                (0 if put_together else cut, *one)
                for one in make_reader(file).iter_messages()
                if begin * PER_LATENT <= one[2].log_time - WALL < end * PER_LATENT
            ]
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=chunk_size)
        writer.start("ros2")
        known: dict[tuple[int, int], int] = {}
        for cut, schema, channel, message in sorted(found, key=lambda one: one[3].log_time):
            if (cut, channel.id) not in known:
                own = writer.register_schema(schema.name, schema.encoding, schema.data)
                known[cut, channel.id] = writer.register_channel(
                    channel.topic, "cdr", own, channel.metadata
                )
            at = message.log_time, message.data, message.publish_time, message.sequence
            writer.add_message(known[cut, channel.id], *at)
        writer.finish()  # type: ignore[no-untyped-call]
    assert both(path) == both(whole)
    with Recording.open(path) as recording, Recording.open(whole) as before:
        begin_ns = WALL + 10 * PER_LATENT  # where both cuts are
        for start_ns in (None, begin_ns):
            indices, expected = (
                [
                    (e.source, e.stream, e.index)
                    for e in one.entries(start_ns=start_ns, values=False)
                ]
                for one in (recording, before)
            )
            assert sorted(indices) == sorted(expected)


def test_a_copy_of_one_camera_does_not_miss_the_other(tmp_path: Path) -> None:
    path, output = tmp_path / "one.mcap", tmp_path / "out.mcap"
    with record(tmp_path / "a.mcap", 5).open("rb") as source, path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        ids: dict[int, int] = {}
        topics = ["/camera1/latents", "/camera1/markers"]
        for _, channel, message in make_reader(source).iter_messages(topics):
            if channel.id not in ids:
                ids[channel.id] = writer.register_channel(channel.topic, "cdr", 0, channel.metadata)
            at = (message.log_time, message.data, message.publish_time, message.sequence)
            writer.add_message(ids[channel.id], *at)
        writer.finish()  # type: ignore[no-untyped-call]
    assert both(path) == {1: ("rtsp://cam1/live", 5, 2)}
    assert recover(path, output) and both(output) == both(path)


@pytest.mark.parametrize("topic", ["/joint_states", "/camera0/markers", "/arm/latents"])
@pytest.mark.parametrize("chunks", [True, False])
def test_channels_of_others_are_copied_as_they_are(
    tmp_path: Path, topic: str, chunks: bool
) -> None:
    whole, output = record(tmp_path / "a.mcap", 5, sources=1), tmp_path / "out.mcap"
    path = merged(tmp_path / "b.mcap", whole, foreign=3, foreign_topic=topic, use_chunking=chunks)
    assert both(path) == {0: ("rtsp://cam0/live", 5, 2)}
    for use_index in (True, False):  # times are those of the cameras, not of what was merged in
        with Recording.open(path, use_index=use_index) as recording:
            assert (recording.start_ns, recording.end_ns) == (WALL, WALL + 5 * PER_LATENT)
    found = recover(path, output)
    assert found and found.foreign == {topic: 3}
    assert f"3 messages of other channels were copied as they are: {topic}" in found.lines()
    with output.open("rb") as file:
        copied = [
            (schema.name, schema.data, channel.metadata, message.log_time, message.sequence)
            for schema, channel, message in make_reader(file).iter_messages()
            if schema is not None and schema.name.startswith("sensor_msgs")
        ]
    about = "sensor_msgs/msg/JointState", b"string a", {"arm": "left"}
    assert copied == [(*about, 10 + number, number) for number in range(3)]


def with_others(path: Path, attached: bytes) -> Path:
    """A recording with an attachment, metadata of others, and a message of nobody."""
    whole = record(path.with_name("a.mcap"), 5, sources=1, force=True)
    with whole.open("rb") as source, path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_attachment(3, 4, "notes.txt", "text/plain", attached)
        writer.add_metadata("weather", {"sky": "clear"})
        ids: dict[int, int] = {}
        for _, channel, message in make_reader(source).iter_messages():
            if channel.id not in ids:
                ids[channel.id] = writer.register_channel(channel.topic, "cdr", 0, channel.metadata)
            at = (message.log_time, message.data, message.publish_time, message.sequence)
            writer.add_message(ids[channel.id], *at)
        lost = writer.register_channel("/camera7/latents", "cdr", 0)
        writer.add_message(lost, 0, b"?", 0)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def others_in(path: Path) -> tuple[list[tuple[int, int, str, str, bytes]], dict[str, str]]:
    """The attachments and the metadata of others in a file, as mcap's own reader finds them."""
    with path.open("rb") as file:
        reader = make_reader(file)
        attached = [
            (one.create_time, one.log_time, one.name, one.media_type, one.data)
            for one in reader.iter_attachments()
        ]
        told = [one for one in reader.iter_metadata() if not one.name.startswith("vidtok_edge.")]
    return attached, {name: value for one in told for name, value in one.metadata.items()}


def test_attachments_and_metadata_of_others_are_copied(tmp_path: Path) -> None:
    inside = record(tmp_path / "inside.mcap", 3).read_bytes()
    path = with_others(tmp_path / "b.mcap", inside)
    found = recover(path, tmp_path / "out.mcap")
    assert not found and found.unreadable == 1
    assert (found.copied, found.left_out, found.damaged_bytes) == (2, {}, 0)
    assert [one.latents for one in found.sources] == [5], "what lies in an attachment is no latent"
    assert "1 messages made no sense and were left out" in found.lines()
    assert "2 attachments and metadata records of others were copied" in found.lines()
    attached = [(3, 4, "notes.txt", "text/plain", inside)]
    assert others_in(tmp_path / "out.mcap") == (attached, {"sky": "clear"})
    assert recover(tmp_path / "out.mcap", tmp_path / "again.mcap").copied == 2


def test_a_damaged_attachment_is_counted_and_not_copied(tmp_path: Path) -> None:
    whole = with_others(tmp_path / "b.mcap", b"some notes").read_bytes()
    place = whole.index(b"some notes")
    path = tmp_path / "c.mcap"
    path.write_bytes(whole[:place] + b"S" + whole[place + 1 :])
    found = recover(path, tmp_path / "out.mcap")
    assert (found.copied, dict(found.left_out)) == (1, {"attachments": 1})
    assert "1 attachments were not copied: damaged, or too large" in found.lines()
    path.write_bytes(whole[: place + 10] + bytes(4) + whole[place + 14 :])  # without a checksum
    assert recover(path, tmp_path / "out.mcap", force=True).copied == 2


def test_readers_of_ros_bags_and_copies_find_what_they_look_for(tmp_path: Path) -> None:
    with record(tmp_path / "a.mcap", 3).open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        named = [record.metadata["source"] for record in reader.iter_metadata()]
    assert named == ["rtsp://cam0/live", "rtsp://cam1/live"] * 2


def test_the_kind_of_a_topic() -> None:
    assert kind_of("/a/b/latents") == "latents" and kind_of("markers") == "markers"
    assert kind_of("/latents/a") is None
