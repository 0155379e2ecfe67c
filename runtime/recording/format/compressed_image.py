"""ROS 2's `sensor_msgs/msg/CompressedImage` as bytes: what a person looks at, in a recording.

Tools for ROS and Foxglove show it. Written here because it is a handful of fields; the tests read
it with `mcap-ros2-support`.
"""

from __future__ import annotations

import struct

from vidtok_edge.runtime.streaming.records import Picture

__all__ = ["SCHEMA", "bytes_from_picture", "picture_topic"]

_HEADER = b"\x00\x01\x00\x00"  # CDR, little-endian

SCHEMA = (
    "sensor_msgs/msg/CompressedImage",
    b"""std_msgs/Header header
string format
uint8[] data
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
""",
)


def picture_topic(source: int) -> str:
    """Where tools find the pictures of a source.

    >>> picture_topic(0)
    '/camera0/image/compressed'
    """
    return f"/camera{source}/image/compressed"


def bytes_from_picture(picture: Picture) -> bytes:
    """The message of a picture. Its stamp is wall clock time, as of everything in ROS."""
    seconds, nanoseconds = divmod(max(0, picture.wall_time_ns), 1_000_000_000)
    content = struct.pack("<iI", min(seconds, 0x7FFFFFFF), nanoseconds)
    for text in (f"camera{picture.source}", "jpeg"):
        encoded = text.encode() + b"\0"
        content += struct.pack("<I", len(encoded)) + encoded
        content += bytes(-len(content) % 4)
    return _HEADER + content + struct.pack("<I", len(picture.jpeg)) + picture.jpeg
