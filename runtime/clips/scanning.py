"""A clip opened and its frame rate judged, before a frame is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vidtok_edge.errors import ClipError, MissingDependency
from vidtok_edge.runtime.clips.cadence import Cadence
from vidtok_edge.runtime.clips.container import open_container
from vidtok_edge.runtime.clips.media_clock import MediaClock
from vidtok_edge.runtime.clips.picture_bounds import most_pixels
from vidtok_edge.runtime.clips.unknown_rate import says_its_rate

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "Scan",
    "announced_rate",
    "open_clip",
    "other_streams",
    "pixel_aspect_of",
    "reason_of",
    "scan_clip",
    "unknown_rate_error",
    "variable_rate_error",
]

_SCANNED_PACKETS = 1000  # half a minute at 30 fps; later frames are checked as they are read
_DEFAULT = 0x1  # AV_DISPOSITION_DEFAULT
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover of an audio file
# Names of FFmpeg's demuxers of files that hold their own frames.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "avi",
    "mpegts",
    "mpeg",
    "mpegvideo",
    "flv",
    "ogg",
    "asf",
    "asf_o",
    "mxf",
    "nut",
    "gif",
    "apng",
    "ivf",
    "obu",
    "av1",
    "h264",
    "hevc",
    "vvc",
    "m4v",
    "mjpeg",
    "dv",
    "rm",
    "wtv",
    "yuv4mpegpipe",
)


def open_clip(path: Path, number: int | None = None) -> tuple[InputContainer, VideoStream]:
    """The container at `path` and one of its video streams; raises ClipError.

    Args:
        number: of the stream in the file; None: the one that is marked as the default, else the
            one that FFmpeg finds best.
    """
    _require_file(path)
    try:
        # `file:` and the whitelists: a name with a colon is no protocol, and a playlist, or a
        # pattern of names, that calls itself a clip must not open what it lists.
        most = most_pixels(path.stat().st_size)
        container = open_container(
            f"file:{path}",
            options={"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)},
            most_pixels=most,
            streams_in_header=_names_its_streams(path),
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        if (kind := _picture_kind(path)) is not None:
            raise ClipError(
                f"{path} is a picture, or several in one file, of the format {kind}, and no clip. "
                "Write each picture to a file: encode, reconstruct and record take their folder "
                "and their rate (--fps N)."
            ) from error
        raise ClipError(
            f"{path} is not a clip that can be read: {reason_of(error)}. It is no video file, or "
            "its header is damaged or missing; copy it again from its source."
        ) from error
    try:
        stream = _chosen(path, container, number)
        _require_few_pixels(path, stream, most)
        return container, stream
    except BaseException:
        container.close()
        raise


_PICTURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
"""How files of pictures begin that FFmpeg reads by demuxers that are not allowed here."""


def _picture_kind(path: Path) -> str | None:
    with path.open("rb") as file:
        first = file.read(12)
    if first[:4] == b"RIFF" and first[8:] == b"WEBP":
        return "WebP"
    return next((kind for begin, kind in _PICTURES.items() if first.startswith(begin)), None)


def _names_its_streams(path: Path) -> bool:
    """Whether it is MP4, Matroska or AVI, by its first bytes: those name all streams first."""
    with path.open("rb") as file:
        first = file.read(12)
    return (
        first[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        or first[:4] == b"\x1aE\xdf\xa3"
        or (first[:4] == b"RIFF" and first[8:] == b"AVI ")
    )


def _require_few_pixels(path: Path, stream: VideoStream, most: int) -> None:
    """Refuse frames that are too large by the header; the decoder refuses others."""
    codec = stream.codec_context
    if codec.width * codec.height > most:
        raise ClipError(
            f"{path} claims frames of {codec.height}x{codec.width} (H x W); frames of up to {most} "
            "pixels can be read from a file of its size. Scale it down."
        )


def _chosen(path: Path, container: InputContainer, number: int | None) -> VideoStream:
    streams = _pictures_in(container)
    if not streams:
        what = "only sound" if container.streams.audio else "or none of a known kind"
        raise ClipError(f"{path} has no video stream, {what}. Name a clip with pictures.")
    if number is None:
        default = [stream for stream in streams.values() if _marked(stream, _DEFAULT)]
        best = container.streams.best("video")
        index = default[0].index if len(default) == 1 or best is None else best.index
        return streams.get(index, next(iter(streams.values())))
    if number not in streams:
        there = ", ".join(_described(stream) for stream in streams.values())
        raise ClipError(f"{path} has no video stream {number}; it has {there}. Name one of them.")
    return streams[number]


def other_streams(container: InputContainer, taken: VideoStream) -> str:
    """The video streams that are not `taken`, for a message; empty for none."""
    streams = _pictures_in(container)
    return ", ".join(_described(s) for index, s in streams.items() if index != taken.index)


def _pictures_in(container: InputContainer) -> dict[int, VideoStream]:
    """The video streams that can be read, by number; the cover of an audio file is none."""
    return {
        stream.index: stream
        for stream in container.streams.video
        if stream.codec_context is not None and not _marked(stream, _ATTACHED_PICTURE)
    }


def _marked(stream: VideoStream, bit: int) -> bool:
    """Whether a stream has that disposition."""
    return bool(int(getattr(stream.disposition, "value", 0)) & bit)


def _described(stream: VideoStream) -> str:
    """A stream, for a message: `1 (64x96, H x W)`."""
    codec = stream.codec_context
    return f"{stream.index} ({codec.height}x{codec.width}, H x W)"


def pixel_aspect_of(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height; 1 where the stream does not say."""
    aspect = stream.sample_aspect_ratio
    # PyAV 19 has rationals of its own, which are no Fraction.
    if not aspect or aspect.numerator <= 0 or aspect.denominator <= 0:
        return Fraction(1)
    return Fraction(aspect.numerator, aspect.denominator)


def _require_file(path: Path) -> None:
    try:
        if not path.exists():
            raise ClipError(f"{path} does not exist. Check the name.")
        if path.is_dir():
            raise ClipError(f"{path} is a folder. Name one clip inside it.")
        if not path.is_file():
            raise ClipError(f"{path} is not a regular file. Record it to a file first.")
        with path.open("rb") as file:
            if not file.read(1):
                raise ClipError(f"{path} is empty (0 bytes). Copy it again from its source.")
    except (OSError, ValueError) as error:
        raise ClipError(f"{path} cannot be read: {reason_of(error)}.") from error


def reason_of(error: Exception) -> str:
    """What went wrong, without the error number."""
    return str(getattr(error, "strerror", None) or error)


@dataclass(frozen=True, slots=True)
class Scan:
    """What the timestamps of a clip say about its frame rate."""

    cadence: Cadence
    fps: float
    """0 where unknown."""
    constant: bool
    clock_steps: list[float]
    """Seconds to where the clock stepped back, as far as was looked."""
    timed: bool
    """Whether the file says a rate, or when its frames are shown."""


def scan_clip(path: Path, whole: bool, number: int | None = None) -> Scan:
    """Judge the frame rate from the timestamps of packets; nothing is decoded.

    `number`: of the stream, as `open_clip` takes it.
    """
    container, stream = open_clip(path, number)
    try:
        clock, cadence = MediaClock(container, stream), Cadence(announced_rate(stream))
        timed = says_its_rate(path, container, stream)
        try:
            for index, packet in enumerate(clock.packets()):
                if not packet.size:
                    continue
                if index >= _SCANNED_PACKETS and not whole:
                    break
                cadence.add(packet)
            else:
                cadence.finish()
        except av.FFmpegError:
            cadence.finish()  # the reader meets the same error and reports it
    finally:
        container.close()
    fps = float(cadence.rate or 0) if timed else 0.0
    return Scan(cadence, fps, cadence.constant, clock.steps, timed)


def announced_rate(stream: VideoStream) -> Fraction | None:
    """Frames per second, as the container has them."""
    rate = stream.guessed_rate or stream.average_rate
    # PyAV 19 has rationals of its own, which are no Fraction.
    return Fraction(rate.numerator, rate.denominator) if rate else None


def variable_rate_error(path: Path, cadence: Cadence) -> ClipError:
    """The refusal of a clip whose frames are unevenly spaced."""
    low, high = float(cadence.smallest * 1000), float(cadence.largest * 1000)
    fps = float(cadence.rate or 30)
    return ClipError(
        f"{path} has a variable frame rate, or frames missing: they are {low:.1f} to {high:.1f} ms "
        f"apart. Give a rate to sample it evenly (rate={fps:.3g}, its usual one; --fps {fps:.3g}), "
        "or take its frames as they are with rate='every-frame' (--fps every-frame)."
    )


def unknown_rate_error(path: Path) -> ClipError:
    """The refusal of a clip that does not say how fast its frames follow each other."""
    return ClipError(
        f"{path} does not say how many frames per second it has. Give its rate (rate=30, --fps 30)."
    )
