"""Whether a file says how fast its frames follow each other; where none does, FFmpeg takes 25."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Y4M_HEADER_BYTES", "rate_in_y4m", "says_its_rate"]

Y4M_HEADER_BYTES = 1024
"""FFmpeg reads headers of at most 96 bytes."""

# FFmpeg's demuxers of coded pictures without a container: some codecs write their rate, if asked.
_BARE = ("h264", "hevc", "vvc", "mjpeg", "m4v", "mpegvideo", "obu", "av1")


def says_its_rate(path: Path, container: InputContainer, stream: VideoStream) -> bool:
    """Whether the rate that FFmpeg has of an open file is that of the file."""
    if container.format.name == "yuv4mpegpipe":
        with path.open("rb") as file:
            return rate_in_y4m(file.read(Y4M_HEADER_BYTES))
    return container.format.name not in _BARE or bool(stream.codec_context.framerate)


def rate_in_y4m(start: bytes) -> bool:
    """Whether a Y4M header has a rate, by the first bytes of a file.

    >>> rate_in_y4m(b"YUV4MPEG2 W96 H64 F25:1 Ip"), rate_in_y4m(b"YUV4MPEG2 W96 H64 F0:0")
    (True, False)
    """
    header = start.partition(b"\n")[0]
    found = re.search(rb" F([0-9]+):([0-9]+)(?= |$)", header)
    return found is not None and int(found[1]) > 0 and int(found[2]) > 0
