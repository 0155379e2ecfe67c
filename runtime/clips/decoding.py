"""The frames of an open clip, decoded past what is damaged, and the account of what was lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidtok_edge.errors import ClipError, MissingDependency
from vidtok_edge.runtime.clips.cadence import Cadence
from vidtok_edge.runtime.clips.media_clock import MediaClock
from vidtok_edge.runtime.clips.mending import FrameMending
from vidtok_edge.runtime.clips.scanning import (
    Scan,
    open_clip,
    other_streams,
    pixel_aspect_of,
    reason_of,
    variable_rate_error,
)
from vidtok_edge.runtime.clips.track_facts import facts_of

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["ClipDecoding"]

_AUDIO_OVERHANG_S = 0.2  # a clip's duration is that of its longest stream, often the sound


class ClipDecoding:
    """One pass over a clip.

    Attributes:
        frames: what can be decoded, in order, with times of one clock that runs on; ends early
            where reading fails.
        read: how many of them the caller took; counted by the caller.
        announced: how many the container says it holds, or None.
        pixel_aspect: width of a pixel over its height, at the beginning.
        crop: the part of the stored picture that is shown.
        other_streams: the video streams that are not read, for a message; empty for none.
    """

    def __init__(self, path: Path, scan: Scan, even: bool, stream: int | None = None) -> None:
        """
        Args:
            even: refuse, with ClipError, a frame rate that turns out to vary.
            stream: as `open_clip` takes it.
        """
        self.path, self._scan, self._even = path, scan, even
        self._cadence = Cadence(scan.cadence.announced)
        self._packets = self._errors = self.read = 0
        self._marked: list[int] = []  # packets that the container calls corrupt
        self._patched = 0  # frames in which the decoder filled in what it could not read
        self._places: deque[int | None] = deque()  # of AVI, of packets whose frames are to come
        self._end = 0  # of the packets, in bytes from the start of the file
        self._stopped: str | None = None
        self._container, self._stream = open_clip(path, stream)
        self._clock = MediaClock(self._container, self._stream)
        self.announced = _announced(self._container, self._stream, scan)
        self._mending = FrameMending(self._stream)
        self._facts = facts_of(path, self._container, self._stream)
        self.crop = self._facts.crop
        self._drained = False  # all that the file holds was decoded
        self._leading: int | None = None  # packets before the first that can be decoded by itself
        self._first_aspect: Any = None  # shape of pixels as frames say it, not the container
        self._last_aspect: Any = None
        self.frames = self._mended()
        self.pixel_aspect = pixel_aspect_of(self._stream)
        self.other_streams = other_streams(self._container, self._stream)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._container.close()

    def first_frame(self) -> VideoFrame:
        """The first readable picture; once, before `frames` is read on."""
        for frame in self.frames:
            self._first_aspect = self._last_aspect
            return frame
        why = self._stopped or "no frame could be decoded"
        raise ClipError(
            f"{self.path} has a video stream but not one readable picture: {why}. "
            "Copy it again from its source."
        )

    @property
    def clock_steps(self) -> list[float]:
        """Seconds to where the clock stepped back, as far as was read."""
        return self._clock.steps

    @property
    def doubts(self) -> list[str]:
        """What a tokenizer was not made for, in sentences, as far as was read."""
        found = list(self._mending.doubts)
        if self._facts.changed_speed:
            found.append(
                "its edit list holds a picture, shows nothing for a while or changes the speed, "
                "which is not done: its parts are taken at the speed at which they are stored. "
                "Export it anew from the program that cut it"
            )
        first, last = self._first_aspect, self._last_aspect
        if first and last and first != last:
            found.append(
                f"the shape of its pixels changes, from {first.numerator}:{first.denominator} to "
                f"{last.numerator}:{last.denominator}: that of the beginning is taken throughout, "
                "so that a part of it is stretched. Cut the clip there"
            )
        unseen = min(self._leading or 0, self._packets - self.read - self._errors)
        if self._drained and unseen > 0:
            found.append(
                f"it begins in the middle of a group of pictures: {unseen} frames before its first "
                "whole picture cannot be shown, and are left out"
            )
        return found

    def _mended(self) -> Iterator[VideoFrame]:
        try:
            yield from self._mending.mended(self._decode())
        except av.FFmpegError as error:  # of a filter
            self._stopped = reason_of(error)

    def _decode(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._clock.packets():
                if packet.size:  # the last one is empty and drains the decoder
                    self._count(packet)
                frames = self._decode_packet(packet)
                for frame in self._placed(packet, frames) if self._clock.ordered_only else frames:
                    self._last_aspect = self._stream.codec_context.sample_aspect_ratio
                    yield frame
            self._drained = True
        except av.FFmpegError as error:
            self._stopped = reason_of(error)

    def _decode_packet(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            frames = packet.decode()
        except av.error.EOFError:  # the decoder was drained already
            return []
        except av.FFmpegError:
            self._errors += 1
            return []
        self._patched += sum(frame.is_corrupt for frame in frames)
        return frames

    def _placed(self, packet: Packet[VideoStream], frames: list[VideoFrame]) -> list[VideoFrame]:
        """Frames of AVI, each with the place of its packet as its time.

        Where frames are reordered the n-th one that is shown has the n-th place.
        """
        if packet.size:
            self._places.append(packet.dts)
        for frame in frames:
            frame.pts = self._places.popleft() if self._places else None
        if not self._stream.codec_context.has_b_frames:
            self._places.clear()  # of a packet without a frame
        return frames

    def _count(self, packet: Packet[VideoStream]) -> None:
        self._end = max(self._end, (packet.pos or 0) + packet.size)
        if packet.is_corrupt:
            self._marked.append(self._packets)
        if self._leading is None and packet.is_keyframe:
            self._leading = self._packets
        self._packets += 1
        if self._even and not self._errors and not self._marked:
            self._cadence.add(packet)
            if not self._cadence.constant:
                raise variable_rate_error(self.path, self._cadence)

    def losses(self, end: Fraction) -> str | None:
        """A sentence about what could not be read, or None; `end`: the time of the last frame."""
        reasons = [self._lost_at_end(end), self._cut_frame()]
        # Where recordings were joined a packet is called corrupt, because their counts differ.
        errors = self._errors + sum(not self._clock.at_join(number) for number in self._marked)
        if errors:
            damaged = max(errors, self._packets - self.read)
            reasons.append(f"{damaged} of {self._packets} frames in the file were damaged")
        if self._patched:
            reasons.append(
                f"{self._patched} frames were damaged in part and were used, with what the decoder "
                "filled in; so are those that build on them"
            )
        if self._stopped:
            reasons.append(f"reading stopped: {self._stopped}")
        return "; ".join(filter(None, reasons)) or None

    def _cut_frame(self) -> str | None:
        """Y4M holds frames and nothing else; FFmpeg leaves out a last one that is not whole."""
        if self._container.format.name != "yuv4mpegpipe" or self._container.size <= self._end:
            return None
        return "the file ends in the middle of a frame"

    def _lost_at_end(self, end: Fraction) -> str | None:
        told = self._missing_at_end(end)
        if told is None or not (promised := _promised_seconds(self._container)):
            return told
        # Of all streams together: the pictures may begin late, or end before the sound.
        held = _held_seconds(self.path)
        if promised - held <= self._overhang:
            return self._missing_between(end)
        if len(self._container.streams) == 1:
            return told
        return f"the file ends at {held:.1f} s of the {promised:.1f} s announced"

    def _missing_between(self, end: Fraction) -> str | None:
        """What is missing before the end of a clip of constant rate whose end is there."""
        due = round(float(end) * self._scan.fps) + 1
        missing = due - self._packets
        if not self._scan.constant or missing <= _AUDIO_OVERHANG_S * self._scan.fps:
            return None
        return f"{missing} of {due} announced frames are missing from the file"

    @property
    def _overhang(self) -> float:
        """Seconds by which the pictures may end before what the container says."""
        return max(_AUDIO_OVERHANG_S, 2 * float(self._scan.cadence.largest))

    def _missing_at_end(self, end: Fraction) -> str | None:
        counted = self._stream.frames > 0
        # Known better now, where an index grew while it was read.
        announced = _announced(self._container, self._stream, self._scan)
        announced = announced or _indexed(self._container, self._stream)
        missing = (announced or 0) - self._packets
        if announced and missing > (0 if counted else _AUDIO_OVERHANG_S * self._scan.fps):
            return f"{missing} of {announced} announced frames are missing from the file"
        duration = _promised_seconds(self._container) - _begin_seconds(self._stream)
        if announced or duration - end <= self._overhang:
            return None
        return f"the pictures end at {float(end):.1f} s of the {duration:.1f} s announced"


def _announced(container: InputContainer, stream: VideoStream, scan: Scan) -> int | None:
    """Frames that the container promises: counted in its header, or from its duration."""
    if stream.frames > 0:
        left_out = _left_out_of_avi(stream, scan) if container.format.name == "avi" else 0
        # A trimmed mp4 counts the frames before its edit list, which are never shown.
        counted = min(stream.frames, _indexed(container, stream) or stream.frames)
        return max(0, counted - left_out) or None
    if not scan.constant:
        return None
    promised = _promised_seconds(container) - _begin_seconds(stream)
    return max(0, round(promised * scan.fps)) or None


def _promised_seconds(container: InputContainer) -> float:
    """The duration in a Matroska header, else 0: FFmpeg's is that of what the file still holds."""
    if not container.format.name.startswith("matroska"):
        return 0
    return (container.duration or 0) / 1_000_000


def _begin_seconds(stream: VideoStream) -> float:
    """When the first picture is shown, on the clock of the container."""
    tick = stream.time_base
    return float((stream.start_time or 0) * tick) if tick else 0.0


def _held_seconds(path: Path) -> float:
    """When the last packet of any stream ends that the file still holds, on its clock."""
    container, _ = open_clip(path)
    last = 0.0
    try:
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.time_base is not None:
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    except av.FFmpegError:
        pass  # what comes behind is not there to be read
    finally:
        container.close()
    return last


def _indexed(container: InputContainer, stream: VideoStream) -> int | None:
    """Frames that an mp4's index lists; grows while a fragmented one is read."""
    if not container.format.name.startswith("mov"):
        return None  # elsewhere an index may list key frames only
    return len(stream.index_entries)


def _left_out_of_avi(stream: VideoStream, scan: Scan) -> int:
    """Places without a packet, which are counted: frames that were dropped while an AVI was
    recorded, and those behind the last one where a place is less than a frame lasts."""
    listed, tick = stream.index_entries, stream.time_base
    if not len(listed) or not tick:
        return 0
    places = listed[-1].timestamp + 1
    lasts = round(1 / (scan.fps * tick)) if scan.fps else 1
    return max(0, places - len(listed)) + max(0, min(stream.frames - places, lasts - 1))
