"""A session's sources and writer, watched: what goes through them is shown as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from vidtok_edge.runtime.sources.clock import CLOCK
from vidtok_edge.runtime.sources.frame import Frame, Source
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.sinks import StartReason, Writer
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, ShownLatent, ShownNote

__all__ = ["WatchedSource", "WatchedWriter", "Watching"]


class Watching:
    """Where things are shown, and when: on a clock since 1970 that never jumps."""

    def __init__(self, show: Callable[[Shown], None]) -> None:
        self.show = show
        monotonic_ns, wall_ns = CLOCK.now()
        self._offset_ns = wall_ns - monotonic_ns

    def time_ns(self, monotonic_ns: int) -> int:
        """Nanoseconds since 1970."""
        return monotonic_ns + self._offset_ns


class WatchedSource:
    """A source whose frames are shown; a `Source`."""

    def __init__(self, source: Source, number: int, watching: Watching) -> None:
        self._source, self._number, self._watching = source, number, watching
        self.name, self.live, self.fps = source.name, source.live, source.fps

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            at_ns = self._watching.time_ns(frame.capture_time_ns)
            self._watching.show(ShownFrame(self._number, at_ns, frame.pixels))
            yield frame

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class WatchedWriter:
    """A writer whose latents and markers are shown; a `Writer`."""

    def __init__(self, writer: Writer, framing: Framing, sources: int, watching: Watching) -> None:
        self._writer, self._framing, self._watching = writer, framing, watching
        self._streams = [-1] * sources
        self._last_ns = [0] * sources
        """Of each source: capture of the last frame that was shown with a latent; of a stream that
        begins, of its first frame."""

    @property
    def safe_bytes(self) -> int:
        """On disk."""
        return self._writer.safe_bytes

    def start(
        self,
        source: int,
        reason: StartReason,
        time_ns: int,
        wall_time_ns: int,
        *,
        fps: float | None = None,
    ) -> None:
        """A new stream begins."""
        self._writer.start(source, reason, time_ns, wall_time_ns, fps=fps)
        self._streams[source] += 1
        self._last_ns[source] = time_ns
        self._note(source, time_ns, reason)

    def write(
        self,
        source: int,
        latents: Latents,
        *,
        wall_time_ns: Sequence[int],
        encode_start_ns: int,
        encode_end_ns: int,
    ) -> None:
        """The latents of one call."""
        self._writer.write(
            source,
            latents,
            wall_time_ns=wall_time_ns,
            encode_start_ns=encode_start_ns,
            encode_end_ns=encode_end_ns,
        )
        left = latents.frames_real
        for offset, value in enumerate(latents.values):
            index, captured_ns = latents.index + offset, int(latents.capture_time_ns[offset])
            first = self._framing.first_frame(index)
            real = min(left, self._framing.first_frame(index + 1) - first)
            left -= real
            shown = ShownLatent(
                source,
                self._watching.time_ns(captured_ns),
                self._streams[source],
                index,
                value,
                self._frame_times(source, first, real, captured_ns),
                (encode_end_ns - captured_ns) / 1e6,
            )
            self._watching.show(shown)

    def drop(
        self,
        source: int,
        frames: int,
        then: Literal["continue", "restart"],
        time_ns: int,
        wall_time_ns: int,
        *,
        index: int | None = None,
    ) -> None:
        """Frames are missing here."""
        self._writer.drop(source, frames, then, time_ns, wall_time_ns, index=index)
        self._note(source, time_ns, "drop", f"{frames} frames, {then}")

    def lost(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        """A camera disappeared."""
        self._writer.lost(source, reason, time_ns, wall_time_ns)
        self._note(source, time_ns, "lost", reason)

    def end(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        """Nothing more comes from the source."""
        self._writer.end(source, reason, time_ns, wall_time_ns)
        self._note(source, time_ns, "end", reason)

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        """Flush when it is due."""
        self._writer.tick(now_ns, busy_ns)

    def _frame_times(self, source: int, first: int, real: int, last_ns: int) -> tuple[int, ...]:
        """Of the frames of a latent, evenly between those that are known."""
        before_ns, self._last_ns[source] = self._last_ns[source], last_ns
        times = np.linspace(before_ns, last_ns, real if first == 0 else real + 1)
        kept = times if first == 0 else times[1:]
        return tuple(self._watching.time_ns(round(t)) for t in kept[:real])

    def _note(self, source: int, time_ns: int, kind: str, detail: str = "") -> None:
        self._watching.show(ShownNote(source, self._watching.time_ns(time_ns), kind, detail))
