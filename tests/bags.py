"""Bags of robots made for tests, and what is joined of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcap.writer import Writer
from mcap_ros2.writer import Writer as RosWriter
from recordings import SECOND, WALL, record

from vidtok_edge.runtime.joining.bags import Take
from vidtok_edge.runtime.joining.joining import Joined, Offset, join
from vidtok_edge.runtime.recording import Recording

__all__ = ["EVERY", "LATENTS", "bag_of_one", "joined", "joints", "json_bag", "values_in"]

LATENTS = 20
EVERY = range(0, 2 * SECOND, SECOND // 100)
"""Times of the samples of a bag, in ns from its first."""

JOINT_STATE = """std_msgs/Header header
string[] name
float64[] position
float64[] velocity
float64[] effort
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
TWIST = """geometry_msgs/Vector3 linear
geometry_msgs/Vector3 angular
================================================================================
MSG: geometry_msgs/Vector3
float64 x
float64 y
float64 z
"""


def joints(path: Path, times_ns: Sequence[int], *, positions: int = 2, at_ns: int = WALL) -> Path:
    """A bag of `/joint_states` whose first position is its time in seconds, and `/cmd`."""
    with path.open("wb") as file:
        writer = RosWriter(file)
        states = writer.register_msgdef("sensor_msgs/msg/JointState", JOINT_STATE)
        twist = writer.register_msgdef("geometry_msgs/msg/Twist", TWIST)
        text = writer.register_msgdef("std_msgs/msg/String", "string data\n")
        for i, time_ns in enumerate(times_ns):
            position = [time_ns / SECOND, *[0.0] * (positions - 1)]
            message = {
                "header": {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""},
                "name": [f"joint{n}" for n in range(positions)],
                "position": position,
                "velocity": [],
                "effort": [],
            }
            times = {"log_time": at_ns + time_ns, "publish_time": at_ns + time_ns, "sequence": i}
            writer.write_message("/joint_states", states, message, **times)
            vector = {"x": time_ns / SECOND, "y": 1.0, "z": 2.0}
            writer.write_message("/cmd", twist, {"linear": vector, "angular": vector}, **times)
        writer.write_message(
            "/speech", text, {"data": "go on"}, log_time=at_ns + SECOND, publish_time=at_ns
        )
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def json_bag(path: Path, messages: Mapping[str, Sequence[Any]], **options: Any) -> Path:
    """A bag with messages in JSON of some topics, a quarter of a second apart."""
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start()
        for topic, contents in messages.items():
            channel = writer.register_channel(topic, "json", 0)
            for i, content in enumerate(contents):
                at_ns = WALL + i * SECOND // 4
                writer.add_message(channel, at_ns, json.dumps(content).encode(), at_ns)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def bag_of_one(
    path: Path, topic: str, encoding: str, schema: tuple[str, str, bytes], data: bytes
) -> Path:
    """A bag with one message, as it is; `schema`: its name, encoding and text."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel(topic, encoding, writer.register_schema(*schema))
        writer.add_message(channel, WALL, data, WALL)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def joined(
    tmp_path: Path, bag: Path, *takes: str, offset: Offset = 0.0, drive: Path | None = None
) -> tuple[Joined, Path]:
    drive = drive or record(tmp_path / "drive.mcap", LATENTS, sources=1, force=True)
    done = join(
        drive, bag, tmp_path / "new.mcap", [Take.parse(t) for t in takes], offset=offset, force=True
    )
    return done, tmp_path / "new.mcap"


def values_in(path: Path, name: str) -> list[list[float]]:
    with Recording.open(path) as recording:
        return [s.values.tolist() for s in recording.samples(name) if s.values is not None]
