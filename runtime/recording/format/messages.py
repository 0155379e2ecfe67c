"""The two messages of a recording, as bytes: one per latent, and markers.

They are CDR, little-endian, described by ROS 2 message definitions (`ros2msg`): tools for MCAP show
their fields without any code of ours, arrays of bytes stay bytes (JSON would need base64, a third
more), and the layout is fixed enough to be read with `struct` in any language. All numbers of 64
bits come first, so that nothing needs padding. Written here because it is two structs; the tests
read it with `mcap-ros2-support`.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import RecordingError, StreamError
from vidtok_edge.runtime.coding.latent_coder import LatentCoder, largest
from vidtok_edge.runtime.coding.packing import pack, unpack
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.streaming.latents import Stamp
from vidtok_edge.runtime.streaming.records import MARKER_KINDS, LatentRecord, Marker, MarkerKind

__all__ = [
    "LATENT_SCHEMA",
    "MARKER_SCHEMA",
    "bytes_from_latent",
    "bytes_from_marker",
    "coded_data",
    "latent_from_bytes",
    "marker_from_bytes",
]

_HEADER = b"\x00\x01\x00\x00"  # CDR, little-endian
_LATENT = struct.Struct("<QQqqqqqIII")  # the last one: length of `data`
_LATENT_BEFORE = struct.Struct("<QQqqqqIII")  # without media_time_ns
_NO_MEDIA_TIME = -1
_MARKER = struct.Struct("<QQQqqdI")
_MAX_TEXT = 4096  # bytes
_FP16_MAX = 65504.0
_NO_VALUES = np.empty(0, np.int32)

LATENT_SCHEMA = b"""# One latent of a video stream. Its sizes and codebook: channel metadata.
uint64 index            # in its stream, from 0
uint64 first_frame      # number of the first frame that it stands for, in its stream
int64 capture_time_ns   # of its last frame; monotonic clock
int64 wall_time_ns      # of the same frame; the machine's clock, which may jump
int64 encode_start_ns   # monotonic clock
int64 encode_end_ns
int64 media_time_ns     # of the same frame; the clip's own clock, 0 its first frame; -1: none
uint32 stream           # counts the streams of this source, from 0
uint32 frames_real      # frames that it stands for; fewer than its share at a stream's end
uint8[] data            # fsq: tokens packed at bits_per_value, little-endian; kl: mean, float16
                        # where the channel's metadata name a code: coded
"""

MARKER_SCHEMA = b"""# Something that happened to a source.
uint64 index            # of the next latent in the stream
uint64 frames           # drop: how many frames
uint64 latents          # of this source that lie before it in the recording
int64 time_ns           # monotonic clock
int64 wall_time_ns      # the machine's clock, which may jump
float64 fps             # start, reconnect: as the source announced it; 0: unknown
uint32 stream           # which stream; a start, reconnect, restart or key begins it
string kind             # start, reconnect, restart, key, drop, lost, end
string detail           # drop: continue or restart; lost, end: why
"""


def bytes_from_latent(
    latent: LatentRecord, tokenizer: Tokenizer, coder: LatentCoder | None = None
) -> bytes:
    """The message of a latent; its tokens are the next ones of `coder`, or packed.

    StreamError: values that this tokenizer cannot have made.
    """
    data = _data_from(latent.values, tokenizer, coder)
    media_time_ns = latent.media_time_ns
    numbers = _LATENT.pack(
        latent.index,
        latent.first_frame,
        latent.capture_time_ns,
        latent.wall_time_ns,
        latent.encode_start_ns,
        latent.encode_end_ns,
        _NO_MEDIA_TIME if media_time_ns is None else media_time_ns,
        latent.stream,
        latent.frames_real,
        len(data),
    )
    return _HEADER + numbers + data


def coded_data(data: bytes) -> bytes:
    """What a message holds of a coded latent."""
    return data[len(_HEADER) + _LATENT.size :]


def latent_from_bytes(
    data: bytes,
    source: int,
    tokenizer: Tokenizer,
    log_time_ns: int,
    coder: LatentCoder | None = None,
    *,
    values: bool = True,
) -> LatentRecord:
    """Read the message of a latent and check everything in it. Raises RecordingError.

    Recordings that were written before there was a media time have none.

    Args:
        coder: of its run, which has decoded those before it; None: tokens are packed.
        values: False: they are not read, and there are none.
    """
    start = len(_HEADER) + _LATENT.size
    stored = tokenizer.latent_bytes
    if coder is None:
        start = len(data) - stored
    else:
        most = largest(tokenizer.levels, prod(tokenizer.shape))
        stored = min(max(0, len(data) - start), most)
    if (
        start - len(_HEADER) not in (_LATENT.size, _LATENT_BEFORE.size)
        or data[: len(_HEADER)] != _HEADER
        or len(data) != start + stored
    ):
        raise RecordingError(f"a latent of {len(data)} bytes is not one of {tokenizer}")
    layout = _LATENT if start - len(_HEADER) == _LATENT.size else _LATENT_BEFORE
    (index, first, captured, wall, begun, ended, *media, stream, real, length) = layout.unpack_from(
        data, len(_HEADER)
    )
    media_time_ns = media[0] if media and media[0] != _NO_MEDIA_TIME else None
    if media_time_ns is not None and not 0 <= media_time_ns < 1 << 62:
        raise RecordingError(f"latent {index} claims a media time of {media_time_ns} ns")
    if length != stored or index >= 1 << 62:
        raise RecordingError(f"latent {index} claims {length} bytes of values")
    share = tokenizer.framing.share(index)
    if first != share.start:
        raise RecordingError(f"latent {index} claims to begin at frame {first}")
    if real > len(share):
        raise RecordingError(f"latent {index} claims {real} frames")
    return LatentRecord(
        source=source,
        stream=stream,
        index=index,
        first_frame=first,
        frames_real=real,
        stamp=Stamp(capture_time_ns=captured, wall_time_ns=wall, media_time_ns=media_time_ns),
        encode_start_ns=begun,
        encode_end_ns=ended,
        values=_values_from(data[start:], tokenizer, coder) if values else _NO_VALUES,
        log_time_ns=log_time_ns,
    )


def bytes_from_marker(marker: Marker) -> bytes:
    """The message of a marker."""
    numbers = _MARKER.pack(
        marker.index,
        marker.frames,
        marker.latents,
        marker.time_ns,
        marker.wall_time_ns,
        marker.fps,
        marker.stream,
    )
    return _HEADER + numbers + _text(marker.kind, padded=True) + _text(marker.detail)


def marker_from_bytes(data: bytes, source: int, log_time_ns: int) -> Marker:
    """Read the message of a marker and check everything in it. Raises RecordingError."""
    try:
        if data[: len(_HEADER)] != _HEADER:
            raise ValueError("no CDR header")
        numbers = _MARKER.unpack_from(data, len(_HEADER))
        index, frames, latents, at, wall, fps, stream = numbers
        kind, offset = _text_from(data, len(_HEADER) + _MARKER.size)
        detail, offset = _text_from(data, offset + -offset % 4)
        if offset != len(data) or kind not in MARKER_KINDS or not 0 <= fps < 1e6:
            raise ValueError(f"kind {kind!r}, {fps} fps")
        if latents >> 32:  # numbers of messages have 32 bits
            raise ValueError(f"{latents} latents before it")
    except (struct.error, ValueError) as error:
        raise RecordingError(f"a marker is damaged: {error}") from None
    return Marker(
        source=source,
        kind=cast(MarkerKind, kind),
        stream=stream,
        index=index,
        frames=frames,
        detail=detail,
        time_ns=at,
        wall_time_ns=wall,
        fps=fps,
        latents=latents,
        log_time_ns=log_time_ns,
    )


def _data_from(values: NDArray[Any], tokenizer: Tokenizer, coder: LatentCoder | None) -> bytes:
    if values.shape != tokenizer.shape:
        raise StreamError(
            f"A latent of {tokenizer} is {tokenizer.shape}, got {values.shape}. "
            "Record with the tokenizer that the recording was opened with."
        )
    if tokenizer.latent == "fsq":
        low, high = int(values.min()), int(values.max())
        if not 0 <= low <= high < tokenizer.codebook_size:
            raise StreamError(
                f"Tokens lie in 0 to {tokenizer.codebook_size - 1}, got {low} to {high}. "
                "Check the encoder's graph: vidtok-edge verify."
            )
        return pack(values, tokenizer.bits) if coder is None else coder.encode(values)
    if np.isnan(values).any():
        raise StreamError("A latent holds NaN. Check the encoder's graph: vidtok-edge verify.")
    return values.clip(-_FP16_MAX, _FP16_MAX).astype("<f2").tobytes()


def _values_from(data: bytes, tokenizer: Tokenizer, coder: LatentCoder | None) -> NDArray[Any]:
    if tokenizer.latent == "kl":
        mean = np.frombuffer(data, "<f2").astype(np.float32).reshape(tokenizer.shape)
        if not np.isfinite(mean).all():
            raise RecordingError("a latent holds values that are not finite")
        return mean
    try:
        if coder is not None:
            return coder.decode(data)
        tokens = unpack(data, prod(tokenizer.shape), tokenizer.bits)
    except ValueError as error:
        raise RecordingError(f"a latent is damaged: {error}") from None
    if int(tokens.max()) >= tokenizer.codebook_size:
        raise RecordingError(f"a token is {tokens.max()}, at most {tokenizer.codebook_size - 1}")
    return tokens.reshape(tokenizer.shape)


def _text(text: str, *, padded: bool = False) -> bytes:
    """A CDR string; `padded` so that the next one begins at a multiple of four."""
    encoded = text.encode("utf-8", "replace")[:_MAX_TEXT]
    encoded = encoded.decode("utf-8", "ignore").replace("\0", " ").encode("utf-8") + b"\0"
    return struct.pack("<I", len(encoded)) + encoded + bytes(-len(encoded) % 4 if padded else 0)


def _text_from(data: bytes, offset: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, offset)
    end = offset + 4 + length
    if not 1 <= length <= _MAX_TEXT + 1 or end > len(data) or data[end - 1]:
        raise ValueError(f"a text of {length} bytes")
    return data[offset + 4 : end - 1].decode("utf-8"), end
