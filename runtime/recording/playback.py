"""A recording back to frames, each with the time at which it was captured."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import median
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.decoder import Picture, StreamDecoder
from vidtok_edge.runtime.recording.messages import RecordedLatent
from vidtok_edge.runtime.recording.reader import Entry, Recording

__all__ = ["Playback", "PlayedFrame", "Replayed", "frame_rate", "replay"]

_RATE_LATENTS = 2000  # that the frame rate is taken from


@dataclass(frozen=True, slots=True, eq=False)
class PlayedFrame:
    """One decoded frame of a recording."""

    pixels: NDArray[Any]
    """uint8 [H, W, 3] RGB."""
    time_s: float
    """When it was captured, since the recording began."""
    latent: RecordedLatent
    """The last latent that went into the decoder before it came out."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What `replay` did."""

    frames: int
    fps: float
    streams: int
    """How often the decoder began anew."""
    broken: int
    """How many of these times in the middle of a stream, where latents were missing: the frames
    that follow are near to what was encoded, not equal."""
    damaged_bytes: int


@dataclass(slots=True)
class Playback:
    """Decodes one source of a recording between two times; iterate over it once.

    `start_s` and `end_s` count from the beginning of the recording. Decoding begins at the last
    marker before `start_s` that starts a stream, so the frames of a range are those that decoding
    everything gives. Where latents are missing, the decoder begins anew at the next one.
    """

    recording: Recording
    decoder: StreamDecoder
    source: int
    fps: float
    start_s: float | None = None
    end_s: float | None = None
    streams: int = 0
    broken: int = 0

    def __iter__(self) -> Iterator[PlayedFrame]:
        begin = self.recording.start_ns
        first_ns = None if self.start_s is None else begin + round(self.start_s * 1e9)
        end_ns = None if self.end_s is None else begin + round(self.end_s * 1e9)
        from_ns = None
        if first_ns is not None:
            from_ns = self.recording.stream_start(self.source, first_ns)
        for time_ns, frame in self._decoded(from_ns, end_ns):
            if first_ns is not None and time_ns < first_ns:
                continue
            if end_ns is not None and time_ns >= end_ns:
                continue
            yield frame

    def _decoded(
        self, from_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[int, PlayedFrame]]:
        due: tuple[int, int] | None = None  # stream and index that would continue
        times: deque[int] = deque()
        pushed, tail = 0, False
        last: RecordedLatent | None = None
        window = 1 if self.decoder.framing.causal else self.decoder.manifest.chunk

        def shown(pictures: list[Picture], latent: RecordedLatent) -> Iterator[Any]:
            for picture in pictures:
                at = times.popleft()
                time_s = (at - self.recording.start_ns) / 1e9
                yield at, PlayedFrame(picture.pixels, time_s, latent)

        for latent in self._latents(from_ns):
            # After a tail only the empty rest of its window can follow.
            if (latent.stream, latent.index) != due or (tail and latent.frames_real):
                if last is not None:
                    yield from shown(self._finish(pushed % window == 0), last)
                times.clear()
                pushed = 0
                if latent.index % window:
                    continue  # a window is decoded whole
                self.streams += 1
                self.broken += latent.index != 0
            frame_times = self._frame_times(latent)
            share = self._share(pushed)
            real = min(latent.frames_real, share)
            times.extend(frame_times[len(frame_times) - real :])
            pictures = self.decoder.push_values(latent.values[None], frames_real=real)
            pushed += 1
            yield from shown(pictures, latent)
            tail = real < share
            due = (latent.stream, latent.index + 1)
            last = latent
            if end_ns is not None and frame_times and frame_times[0] >= end_ns:
                break
        if last is not None:
            yield from shown(self._finish(pushed % window == 0), last)

    def _latents(self, from_ns: int | None) -> Iterator[RecordedLatent]:
        for entry in self.recording.entries(self.source, start_ns=from_ns):
            if isinstance(entry, RecordedLatent):
                yield entry

    def _share(self, index: int) -> int:
        framing = self.decoder.framing
        return framing.first_frame(index + 1) - framing.first_frame(index)

    def _frame_times(self, latent: RecordedLatent) -> list[int]:
        """When each real frame was captured: the last one is known, the others lie before it."""
        period = 1e9 / self.fps
        count = latent.frames_real
        return [latent.log_time_ns - round((count - 1 - i) * period) for i in range(count)]

    def _finish(self, whole: bool) -> list[Picture]:
        if not whole:
            self.decoder.reset()
            return []
        return self.decoder.finish()


def frame_rate(recording: Recording, source: int) -> float:
    """Frames per second of a source: the median of what its timestamps say.

    What the source announced counts where timestamps say about the same (they jitter), and where
    they say more: then a file was read faster than it plays.
    """
    entries = list(islice(recording.entries(source), _RATE_LATENTS))
    announced = [e.fps for e in entries if not isinstance(e, RecordedLatent) and e.fps > 0]
    steps = [step for a, b in pairwise(entries) if (step := _seconds_per_frame(a, b)) is not None]
    measured = 1 / median(steps) if steps else None
    if announced and (measured is None or measured > 0.97 * announced[0]):
        return announced[0]
    return min(1000.0, max(0.01, measured if measured is not None else 30.0))


def _seconds_per_frame(before: Entry, after: Entry) -> float | None:
    if not (isinstance(before, RecordedLatent) and isinstance(after, RecordedLatent)):
        return None
    seconds = (after.capture_time_ns - before.capture_time_ns) / 1e9
    follows = (after.stream, after.index) == (before.stream, before.index + 1)
    return seconds / after.frames_real if follows and after.frames_real and seconds > 0 else None


def replay(
    path: str | os.PathLike[str],
    bundle: Bundle,
    output: str | os.PathLike[str] | IO[bytes],
    *,
    source: int = 0,
    start_s: float | None = None,
    end_s: float | None = None,
    fps: float | None = None,
    backend: str = "auto",
    precision: str | None = None,
    force: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Replayed:
    """Decode a recording, or a part of it, to a clip or to raw frames.

    A frame of the clip for each frame that was encoded: nothing is put in where frames were
    dropped or a camera was away.

    Args:
        output: `.mp4` or `.mkv`; or an open binary file, which gets RGB frames one after another,
            uint8 [H, W, 3] each.
        source: its number.
        start_s, end_s: from the beginning of the recording.
        fps: of the clip; None: as `frame_rate` says.

    Raises:
        RecordingError: not a recording, or of another tokenizer than the bundle's; or no frame
            lies between the times.
    """
    if bundle.manifest.io != "uint8":
        raise UsageError(
            "The bundle was exported with --io float, for comparing numbers; clips are uint8. "
            "Export it with --io uint8."
        )
    if start_s is not None and end_s is not None and not start_s < end_s:
        raise UsageError(f"The part from {start_s} s to {end_s} s is empty. Let it end later.")
    with Recording.open(path) as recording:
        recording.source(source).tokenizer.require_decodable_by(bundle)
        rate = fps or frame_rate(recording, source)
        whole_s = (recording.end_ns - recording.start_ns) / 1e9
        length_s = min(end_s or whole_s, whole_s) - min(start_s or 0, whole_s)
        with bundle.decoder(backend, precision=precision) as decoder:
            playback = Playback(recording, decoder, source, rate, start_s, end_s)
            frames = _counted(playback, progress, round(length_s * rate))
            written = _write(frames, output, rate, recording, force)
        damaged = sum(damage.length for damage in recording.damage)
        return Replayed(written, rate, playback.streams, playback.broken, damaged)


def _counted(
    frames: Playback, progress: Callable[[int, int | None], None], total: int
) -> Iterator[PlayedFrame]:
    for number, frame in enumerate(frames, 1):
        yield frame
        progress(number, total)


def _write(
    frames: Iterator[PlayedFrame],
    output: str | os.PathLike[str] | IO[bytes],
    fps: float,
    recording: Recording,
    force: bool,
) -> int:
    first = next(frames, None)
    if first is None:
        length = (recording.end_ns - recording.start_ns) / 1e9
        raise RecordingError(
            f"{recording.path} has no frame of that source in that time; it is {length:.1f} s long."
        )
    written = 0
    if not isinstance(output, str | os.PathLike):
        for frame in chain([first], frames):
            output.write(np.ascontiguousarray(frame.pixels).tobytes())
            written += 1
        output.flush()
        return written
    from vidtok_edge.runtime.clip_writer import ClipWriter

    height, width = first.pixels.shape[:2]
    with ClipWriter(Path(output), fps=fps, size=(height, width), force=force) as clip:
        for frame in chain([first], frames):
            clip.write(frame.pixels)
            written += 1
    return written
