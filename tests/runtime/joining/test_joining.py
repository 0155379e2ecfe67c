"""A bag into a recording: ROS 2 messages and JSON, whose values say when they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import EVERY, LATENTS, bag_of_one, joined, joints, json_bag, values_in
from mcap.reader import make_reader
from mcap.writer import Writer
from recordings import FSQ, PER_LATENT, SECOND, WALL, latents, record, write

from vidtok_edge.errors import RecordingError, StreamError, UsageError
from vidtok_edge.runtime.joining.bags import Bag, Take
from vidtok_edge.runtime.joining.joining import join
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.streaming.records import SourceRecords


def test_joint_states_become_a_channel_on_the_recordings_clock(tmp_path: Path) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY)
    done, path = joined(tmp_path, bag, "/joint_states:position=state", "/speech:data=speech")
    assert done.offset_s == 0 and done.common_s == pytest.approx(1.99, abs=0.02)
    with Recording.open(path) as recording, Recording.open(tmp_path / "drive.mcap") as drive:
        state = recording.data_channel("state")
        assert state.fields == ("joint0", "joint1")
        assert state.origin == "robot.mcap:/joint_states"
        samples = list(recording.samples("state"))
        assert len(samples) == len(EVERY)
        for sample in samples:
            assert sample.values is not None
            assert sample.values[0] == (sample.log_time_ns - WALL) / SECOND
            assert sample.time_ns == sample.log_time_ns - WALL, "the cameras' monotonic clock"
        assert [s.text for s in recording.samples("speech")] == ["go on"]
        latents = [(e.log_time_ns, e.source) for e in recording.entries()]
        assert latents == [(e.log_time_ns, e.source) for e in drive.entries()]


def test_all_numbers_of_a_message_and_a_path_into_it(tmp_path: Path) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY)
    done, path = joined(tmp_path, bag, "/cmd=whole", "/cmd:linear.x", "/cmd:angular=turn")
    assert [(one.facts.name, one.facts.size) for one in done.channels] == [
        ("whole", 6),
        ("cmd/linear/x", 1),
        ("turn", 3),
    ]
    with Recording.open(path) as recording:
        assert recording.data_channel("whole").fields[:2] == ("linear.x", "linear.y")
        assert recording.data_channel("turn").fields == ("x", "y", "z")


def test_json_messages_are_read(tmp_path: Path) -> None:
    bag = tmp_path / "robot.mcap"
    with bag.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("Arm", "jsonschema", b"{}")
        for topic in ("/arm", "/leg"):
            channel = writer.register_channel(topic, "json", schema)
            for i in range(10):
                data = json.dumps({"q": [i, i / 2], "on": True, "who": "me"}).encode()
                writer.add_message(channel, WALL + i, data, WALL + i)
        writer.finish()  # type: ignore[no-untyped-call]
    done, path = joined(tmp_path, bag, "/*:q")
    assert [one.facts.name for one in done.channels] == ["arm/q", "leg/q"]
    with Recording.open(path) as recording:
        values = [s.values for s in recording.samples("leg/q")]
        assert [v.tolist() for v in values if v is not None] == [[i, i / 2] for i in range(10)]


def test_a_char_of_ros_2_has_no_sign(tmp_path: Path) -> None:
    bag = tmp_path / "robot.mcap"
    text = b"char grade\nchar[2] two\nchar[<=3] few\nint8 signed\n"
    text += b"chars/Inner inner\n" + b"=" * 80 + b"\nMSG: chars/Inner\nchar[] char\n"
    with bag.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("chars/msg/Grade", "ros2msg", text)
        channel = writer.register_channel("/grade", "cdr", schema)
        data = bytes([0, 1, 0, 0, 200, 1, 255, 0, 1, 0, 0, 0, 128, 254, 0, 0, 1, 0, 0, 0, 129])
        writer.add_message(channel, WALL, data, WALL)
        writer.finish()  # type: ignore[no-untyped-call]
    _, path = joined(tmp_path, bag, "/grade")
    with Recording.open(path) as recording:
        [sample] = recording.samples("grade")
        assert sample.values is not None
        assert sample.values.tolist() == [200, 1, 255, 128, -2, 129]


def test_clocks_that_differ_are_said_and_can_be_put_together(tmp_path: Path) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY, at_ns=5 * SECOND)  # since it was switched on
    with pytest.raises(RecordingError, match=r"1700000000\.000 s to .*, and 5\.000 s to 6\.990 s"):
        joined(tmp_path, bag, "/joint_states:position=state")
    assert not (tmp_path / "new.mcap").exists()
    done, path = joined(tmp_path, bag, "/joint_states:position=state", offset="start")
    assert done.offset_s == WALL / SECOND - 5
    with Recording.open(path) as recording:
        assert next(recording.samples("state")).log_time_ns == recording.start_ns
    done, path = joined(tmp_path, bag, "/joint_states:position=state", offset=done.offset_s + 0.5)
    with Recording.open(path) as recording:
        first = next(recording.samples("state"))
        assert first.log_time_ns - recording.start_ns == pytest.approx(SECOND / 2, abs=1000)


def test_a_shape_that_changes_is_refused_with_its_place(tmp_path: Path) -> None:
    first = joints(tmp_path / "a.mcap", [0])
    content = joints(tmp_path / "b.mcap", [SECOND], positions=3).read_bytes()
    assert first.stat().st_size and content
    bag = tmp_path / "both.mcap"
    with bag.open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/q", "json", 0)
        for i, q in enumerate([[1, 2], [1, 2], [1, 2, 3]]):
            data = json.dumps({"q": q}).encode()
            writer.add_message(channel, WALL + i * SECOND // 4, data, WALL)
        writer.finish()  # type: ignore[no-untyped-call]
    said = r"0\.500 s after the first: The channel q/q has 2 numbers .*got 3 numbers"
    with pytest.raises(RecordingError, match=said):
        joined(tmp_path, bag, "/q:q")


@pytest.mark.parametrize(
    ("takes", "error", "said"),
    [
        (["/joint:position"], RecordingError, "no topic that fits '/joint'; it has /cmd, /joint_"),
        (["/joint_states:speed"], RecordingError, "no message of /joint_states with a number"),
        (["/cmd=a", "/joint_states:position=a"], StreamError, "both be the data channel a"),
        (["/cmd:linear.x=a", "/cmd:linear.y=a"], StreamError, "channel a is asked for twice, of"),
        (["/cmd:linear", "/c*:linear"], StreamError, "cmd/linear is asked for twice, of /cmd"),
        (["/cmd:linear=camera0/latents"], StreamError, "taken by a camera"),
        ([":x"], UsageError, "names no topic"),
        ([], UsageError, "Nothing is taken out"),
    ],
)
def test_what_cannot_be_taken(
    tmp_path: Path, takes: list[str], error: type[Exception], said: str
) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY)
    with pytest.raises(error, match=said):
        joined(tmp_path, bag, *takes)
    assert not (tmp_path / "new.mcap").exists()


def test_a_name_that_the_recording_has_is_refused(tmp_path: Path) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY)
    _, path = joined(tmp_path, bag, "/cmd:linear=speed")
    drive = path.rename(tmp_path / "twice.mcap")
    with pytest.raises(StreamError, match="has a data channel speed already"):
        joined(tmp_path, bag, "/cmd:linear=speed", drive=drive)
    _, path = joined(tmp_path, bag, "/cmd:angular=turn", drive=drive)
    with Recording.open(path) as recording:
        assert set(recording.data_channels) == {"speed", "turn"}
        assert len(list(recording.samples("speed"))) == len(EVERY)


def test_another_encoding_is_named(tmp_path: Path) -> None:
    schema = "Arm", "protobuf", b"\x00"
    bag = bag_of_one(tmp_path / "robot.mcap", "/arm", "protobuf", schema, b"\x00")
    with pytest.raises(RecordingError, match="messages of /arm are in 'protobuf'"):
        joined(tmp_path, bag, "/arm")
    with Bag.open(bag) as found:
        assert "protobuf" in found.outline()[0][2]


def test_an_outline_names_the_fields(tmp_path: Path) -> None:
    with Bag.open(joints(tmp_path / "robot.mcap", EVERY)) as bag:
        rows = {topic: fields for topic, _, fields in bag.outline()}
    assert "position [2]" in rows["/joint_states"] and "linear.x" in rows["/cmd"]
    assert rows["/speech"] == "texts alone"


def test_damaged_bags_give_what_is_sound(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = joints(tmp_path / "robot.mcap", EVERY).read_bytes()
    drive = record(tmp_path / "drive.mcap", LATENTS, sources=1)
    for _ in range(30):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] ^= int(rng.integers(1, 256))
        bag = tmp_path / "damaged.mcap"
        bag.write_bytes(data)
        try:
            _, path = joined(tmp_path, bag, "/joint_states:position=state", drive=drive)
        except (RecordingError, StreamError):
            continue
        with Recording.open(path) as recording:
            for sample in recording.samples("state"):
                assert sample.values is not None
                assert sample.values[0] == (sample.log_time_ns - WALL) / SECOND


def test_what_else_is_in_a_recording_is_in_the_new_one(tmp_path: Path) -> None:
    drive, path = record(tmp_path / "a.mcap", LATENTS, sources=1), tmp_path / "drive.mcap"
    with drive.open("rb") as source, path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        ids: dict[int, int] = {}
        for _, channel, message in make_reader(source).iter_messages():
            if channel.id not in ids:
                ids[channel.id] = writer.register_channel(channel.topic, "cdr", 0, channel.metadata)
            at = (message.log_time, message.data, message.publish_time, message.sequence)
            writer.add_message(ids[channel.id], *at)
        writer.add_attachment(3, 4, "lens.json", "application/json", b"{}")
        writer.add_metadata("robot", {"name": "one"})
        writer.finish()  # type: ignore[no-untyped-call]
    bag = joints(tmp_path / "robot.mcap", EVERY)
    done, new = joined(tmp_path, bag, "/cmd:linear=speed", drive=path)
    assert done.left_out == {}
    with new.open("rb") as file:
        reader = make_reader(file)
        assert [(one.name, one.data) for one in reader.iter_attachments()] == [("lens.json", b"{}")]
        assert {"name": "one"} in [one.metadata for one in reader.iter_metadata()]


def test_neither_input_is_written_over(tmp_path: Path) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY)
    drive: Any = record(tmp_path / "drive.mcap", LATENTS, sources=1)
    for output in (bag, drive):
        with pytest.raises(UsageError, match="is read here, and stays as it is"):
            join(drive, bag, output, [Take.parse("/cmd")], force=True)
    assert PER_LATENT and join(drive, bag, None, [Take.parse("/cmd")]).channels


def test_a_topic_of_texts_is_taken_by_its_field_and_says_so(tmp_path: Path) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY)
    with pytest.raises(RecordingError, match="a text is taken where its field is named, as /speec"):
        joined(tmp_path, bag, "/speech")
    _, path = joined(tmp_path, bag, "/speech:data=said")
    with Recording.open(path) as recording:
        assert [sample.text for sample in recording.samples("said")] == ["go on"]


@pytest.mark.parametrize(
    ("take", "fields"),
    [
        ("/js:position=q", ("left", "right")),
        ("/js=q", ("position.left", "position.right")),
        ("/js:by_key=q", ("left", "right")),
    ],
)
def test_values_in_another_order_are_told_apart_by_their_names(
    tmp_path: Path, take: str, fields: tuple[str, ...]
) -> None:
    """Publishers of one topic may each have an order of their own."""
    messages: list[dict[str, Any]] = [
        {"name": ["left", "right"], "position": [1, 2]},
        {"name": ["right", "left"], "position": [2, 1]},
    ]
    if "by_key" in take:
        messages = [{"by_key": dict(zip(*one.values(), strict=True))} for one in messages]
    _, path = joined(tmp_path, json_bag(tmp_path / "bag.mcap", {"/js": messages}), take)
    assert values_in(path, "q") == [[1, 2], [1, 2]]
    with Recording.open(path) as recording:
        assert recording.data_channel("q").fields == fields


def test_as_many_values_of_other_things_are_refused(tmp_path: Path) -> None:
    names = [["left", "right"], ["left", "grip"]]
    messages = [{"name": name, "position": [1, 2]} for name in names]
    bag = json_bag(tmp_path / "bag.mcap", {"/js": messages})
    said = r"0\.250 s after the first: The values of q are called left, right, and then left, grip"
    with pytest.raises(RecordingError, match=said):
        joined(tmp_path, bag, "/js:position=q")


def test_bags_put_one_behind_another_number_their_topics_each(tmp_path: Path) -> None:
    ones, twos = [{"v": 1}] * 3, [{"v": 2}] * 3
    first = json_bag(tmp_path / "a.mcap", {"/one": ones, "/two": twos}).read_bytes()
    then = json_bag(tmp_path / "b.mcap", {"/two": twos, "/one": ones}).read_bytes()
    bag = tmp_path / "both.mcap"
    bag.write_bytes(first + then + first)
    _, path = joined(tmp_path, bag, "/one=one", "/two=two")
    assert values_in(path, "one") == [[1]] * 6, "what is there twice is taken once"
    assert values_in(path, "two") == [[2]] * 6


def test_a_bag_without_checksums_is_read(tmp_path: Path) -> None:
    """As those of rosbag2 with the profile `zstd_fast`."""
    bag = json_bag(tmp_path / "bag.mcap", {"/one": [{"v": 1}] * 3}, enable_crcs=False)
    _, path = joined(tmp_path, bag, "/one=one")
    assert values_in(path, "one") == [[1]] * 3


def test_a_clock_that_was_set_while_cameras_recorded_is_told(tmp_path: Path) -> None:
    drive = tmp_path / "set.mcap"
    with RecordingWriter(drive, FSQ, ["cam"], flush_interval_s=1000) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        for i in range(LATENTS):
            jump_ns = 3 * SECOND if i > 9 else 0
            write(writer, camera, latents(0, i, wall_jump_ns=jump_ns))
    bag = joints(tmp_path / "robot.mcap", EVERY)
    done, _ = joined(tmp_path, bag, "/cmd=cmd", drive=drive)
    assert done.clock_set_s == 3
    done, _ = joined(tmp_path, bag, "/cmd=cmd")
    assert done.clock_set_s == 0 and not done.recording_damaged_bytes


def test_damage_of_the_recording_is_told(tmp_path: Path) -> None:
    drive = record(tmp_path / "cut.mcap", LATENTS, sources=1)
    drive.write_bytes(drive.read_bytes()[: drive.stat().st_size // 2])
    done, _ = joined(tmp_path, joints(tmp_path / "robot.mcap", EVERY), "/cmd=cmd", drive=drive)
    assert done.recording_damaged_bytes > 0


def test_messages_that_are_compressed_one_by_one_are_no_numbers(tmp_path: Path) -> None:
    schema = "std_msgs/msg/Int64", "ros2msg", b"int64 data\n"
    packed = b"\x28\xb5\x2f\xfd" + bytes(20)
    bag = bag_of_one(tmp_path / "robot.mcap", "/n", "cdr", schema, packed)
    with pytest.raises(RecordingError, match="of /n are compressed one by one"):
        joined(tmp_path, bag, "/n")
