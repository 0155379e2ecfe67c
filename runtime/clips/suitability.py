"""What in a clip a tokenizer was not made for: mended by FFmpeg's filters, or said.

It is said in any case, because the result looks like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.clips.filtering import FilterStep

try:
    from av import library_versions
    from av.filter import filters_available
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Mending", "mending_of", "transparency_of"]

# Transfer characteristics (ITU-T H.273, table 3): for people, and for FFmpeg.
_HDR = {16: ("PQ", "smpte2084"), 18: ("HLG", "arib-std-b67")}
# Colour primaries (table 2) that HDR video has; where none are named, those of BT.2020.
_PRIMARIES = {1: "bt709", 9: "bt2020", 11: "smpte431", 12: "smpte432"}
_OPAQUE = 255
_BITS = 10  # more are rarely from a camera, and often depth or heat
_TONE_MAPPING_SINCE = 9  # libswscale, of FFmpeg 8
# One frame for each, not for each field; fields in the order that frames say.
_DEINTERLACING: FilterStep = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
_WHOLE_COLOURS = "flags=bicubic+full_chroma_int+full_chroma_inp+accurate_rnd"


@dataclass(frozen=True, slots=True)
class Mending:
    """What is done with frames before they are used, and a sentence for each thing about them."""

    steps: tuple[FilterStep, ...]
    doubts: tuple[str, ...]


def mending_of(frame: VideoFrame, interlaced: bool = False, *, filters: bool = True) -> Mending:
    """As a frame, as it was decoded, shows.

    Args:
        interlaced: one before it was; a clip may have both, and what is whole passes as it is.
        filters: may be used; else there are no steps, and the sentences say what follows.
    """
    steps: list[FilterStep] = []
    doubts = []
    fields = _fields(filters) if interlaced or frame.interlaced_frame else None
    brightness = _brightness(frame, filters)
    for step, doubt in filter(None, (fields, brightness, _precision(frame))):
        steps += [] if step is None else [step]
        doubts.append(doubt)
    if any(name == "scale" for name, _ in steps):
        steps.append(("format", "gbrp"))
    return Mending(tuple(steps), tuple(doubts))


def transparency_of(frame: VideoFrame, stream: VideoStream) -> str | None:
    """A sentence where something can be seen through, in the first frame or by the header."""
    if any(part.is_alpha for part in frame.format.components):
        alpha = frame.reformat(format="rgba").to_ndarray()[..., 3]
        transparent = bool((alpha < _OPAQUE).any())
    else:  # of WebM FFmpeg's own decoder skips it
        transparent = stream.metadata.get("alpha_mode") == "1"
    if not transparent:
        return None
    return (
        "it has transparency, which is not used: where it can be seen through, the colours that "
        "are stored there are taken. Lay it over a background first (FFmpeg: overlay)"
    )


def _fields(filters: bool) -> tuple[FilterStep | None, str]:
    if filters and _DEINTERLACING[0] in filters_available:
        return _DEINTERLACING, (
            "it is interlaced: each frame is made from one field by FFmpeg's bwdif, with half of "
            "its rows interpolated where something moves"
        )
    return None, (
        "it is interlaced: what moves has combs. Deinterlace it first (FFmpeg: -vf bwdif), or "
        "record it progressive"
    )


def _brightness(frame: VideoFrame, filters: bool) -> tuple[FilterStep | None, str] | None:
    if (transfer := _HDR.get(int(frame.color_trc or 0))) is None:
        return None
    name, known_as = transfer
    if not filters or library_versions["libswscale"][0] < _TONE_MAPPING_SINCE:
        return None, (
            f"it is HDR video ({name}), whose brightness is used as if it were that of a screen: "
            "pale and flat pictures. Convert it to SDR (FFmpeg: zscale and tonemap)"
        )
    primaries = _PRIMARIES.get(int(frame.color_primaries or 0), "bt2020")
    # Relative: reference white of HDR, 203 nits (ITU-R BT.2408), becomes white.
    options = (
        f"in_transfer={known_as}:in_primaries={primaries}:out_transfer=bt709:out_primaries=bt709:"
        f"intent=relative_colorimetric:{_WHOLE_COLOURS}"
    )
    return ("scale", options), (
        f"it is HDR video ({name}), mapped to SDR by FFmpeg: all that is brighter than 203 nits is "
        "white. Where highlights matter, convert it yourself (FFmpeg: zscale and tonemap)"
    )


def _precision(frame: VideoFrame) -> tuple[None, str] | None:
    bits = max((component.bits for component in frame.format.components), default=8)
    if bits <= _BITS:
        return None
    return None, (
        f"it has {bits} bits per value ({frame.format.name}), of which the lower {bits - 8} are "
        "dropped. If it is depth or heat, map its range to 8 bits yourself"
    )
