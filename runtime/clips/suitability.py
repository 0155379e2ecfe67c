"""What in a clip a tokenizer was not made for: said, because the result looks like any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["doubts_about"]

# Transfer characteristics (ITU-T H.273, table 3).
_HDR = {16: "PQ", 18: "HLG"}
_BITS = 10  # more are rarely from a camera, and often depth or heat


def doubts_about(frame: VideoFrame, *, deinterlaced: bool = False) -> Iterator[str]:
    """A sentence for each thing that is used as it is, though it should not be, or was mended.

    `deinterlaced`: whether the frame was made from fields.
    """
    if (transfer := _HDR.get(int(frame.color_trc or 0))) is not None:
        yield (
            f"it is HDR video ({transfer}), whose brightness is used as if it were that of a "
            "screen: pale and flat pictures. Convert it to SDR (FFmpeg: zscale and tonemap)"
        )
    if deinterlaced:
        yield (
            "it is interlaced: each frame is made from one field by FFmpeg's bwdif, with half of "
            "its rows interpolated where something moves"
        )
    elif frame.interlaced_frame:
        yield (
            "it is interlaced: what moves has combs. Deinterlace it first (FFmpeg: -vf bwdif), or "
            "record it progressive"
        )
    bits = max((component.bits for component in frame.format.components), default=8)
    if bits > _BITS:
        yield (
            f"it has {bits} bits per value ({frame.format.name}), of which the lower {bits - 8} "
            "are dropped. If it is depth or heat, map its range to 8 bits yourself"
        )
