"""Frames in, latents out, for as long as the camera runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.backends.arrays import Array, Borrowed, Place, described
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.latents import FrameSpan, Latents, Stamp
from vidtok_edge.runtime.streaming.slots import Slots

__all__ = ["StreamEncoder"]


@dataclass(slots=True)
class _StreamState:
    """What a stream has been given and has given back."""

    frames: int = 0
    latents: int = 0
    stamps: list[Stamp] = field(default_factory=list)
    """Of the frames since the last latent that was returned."""
    reported: int = 0
    """Frames that the returned latents stand for."""


class StreamEncoder(Slots[Latents]):
    """A streaming encoder, from `Bundle.encoder` (docs/streaming.md, section 6.1).

    Equal to the whole-clip encode of the same frames, whatever the chunk plan, where the bundle's
    promise says `exact`. Not safe for use from several threads at once.
    """

    def __init__(
        self, manifest: Manifest, step: Step, tokens_on: Place = "host", depth: int = 1
    ) -> None:
        super().__init__(manifest, step, manifest.chunk_frames, "frames", depth)
        self._tokens_on = tokens_on
        self._progress = [_StreamState() for _ in range(manifest.streams)]

    def __enter__(self) -> StreamEncoder:
        return self

    def push(
        self,
        frame: Any,
        *,
        slot: int = 0,
        capture_time_ns: int | None = None,
        stamp: Stamp | None = None,
        stream: int | None = None,
    ) -> list[Latents]:
        """Give the next frame of a stream; the first one begins it.

        Args:
            frame: [H, W, 3] RGB of the bundle's size, uint8 (float32 in [-1, 1] with `--io float`):
                a NumPy array, or any that has `__dlpack__` or `__cuda_array_interface__`. An engine
                takes one on its GPU without a way over the host; rows may be apart, pixels not. It
                is copied before this returns.
            slot: whose stream.
            capture_time_ns: when the frame was taken, on the monotonic clock; now where None.
            stamp: when it was taken, on every clock; in place of `capture_time_ns`.
            stream: the address of the CUDA stream in which a frame on the GPU is written; None:
                what DLPack or the interface says, as PyTorch's current stream.

        Returns:
            What is ready: nothing, or the latents of one call, of this and perhaps of other slots.

        Raises:
            StreamError: a frame of another size or type, on another device, or whose pixels are
                apart; no such slot, a closed stream; a stamp and another capture time, or one that
                is no whole number.
        """
        self._slot(slot)
        progress = self._progress[slot]
        number = progress.frames
        item: NDArray[Any] | Borrowed = frame
        if not isinstance(frame, np.ndarray):
            item = self._borrowed(frame, f"Frame {number} of slot {slot}", stream)
        if isinstance(item, Borrowed):
            self._check(item.array, slot, number)
            assert self._device is not None  # else it would not have been borrowed
            self._device.check(item)
        else:
            self._check(item, slot, number)
        if not isinstance(capture_time_ns, int | np.integer | None):
            raise StreamError(
                f"The capture time is {capture_time_ns!r}; allowed: whole nanoseconds on the "
                "monotonic clock, as time.monotonic_ns() counts."
            )
        if stamp is None:
            stamp = Stamp.at(capture_time_ns)
        elif capture_time_ns is not None:
            raise StreamError("Got a stamp and a capture time beside it. Give one of them.")
        results = self._make_room(slot)
        copies = self.framing.lead_in if progress.frames == 0 else 1
        progress.frames += 1
        progress.stamps.append(stamp)
        for _ in range(copies):
            results += self._put(slot, item)
        return results

    def finish(self, slot: int = 0) -> list[Latents]:
        """End a stream: what is left of it, its last frame repeated up to a whole chunk.

        `frames_real` of the last latents leaves the repetitions out. The slot's next frame begins a
        new stream. Latents of other slots may be ready too, if they waited for this one only.
        """
        state = self._slot(slot)
        results: list[Latents] = []
        if state.filled:
            self._repeat_last(slot)
            results = self._run(self._full())
        results += self._taken()
        self.reset(slot)
        return results + self._run_complete() + self._taken()

    def reset(self, slot: int = 0) -> None:
        """Forget a stream: frames not yet encoded are dropped, the next one begins a new stream.

        With a depth of 2 what is under way is dropped too; `run_pending` gives it before.
        """
        self._slot(slot)
        self._end(slot)
        self._progress[slot] = _StreamState()

    def _collect(self, number: int) -> list[Latents]:
        progress, framing = self._progress[number], self.framing
        index = progress.latents
        total = index + self.manifest.chunk
        if framing.causal:  # a window is decoded whole, so all of its latents are needed
            total = min(total, framing.latents(progress.frames))
        count = total - index
        spans = [self._span(progress, i) for i in range(index, total)]
        latents = Latents(
            slot=number,
            index=index,
            tokens=self._output("tokens", number, count),
            mean=self._output("mean", number, count),
            logvar=self._output("logvar", number, count),
            spans=tuple(spans),
        )
        real = latents.frames_real
        progress.latents, progress.reported = total, progress.reported + real
        del progress.stamps[:real]
        return [latents]

    def _span(self, progress: _StreamState, index: int) -> FrameSpan:
        """The frames of latent `index`, which are among those since the last one returned."""
        real = self.framing.share(index, progress.frames)
        first, end = real.start - progress.reported, real.stop - progress.reported
        return FrameSpan(
            first_frame=self.framing.first_frame(index),
            stamps=tuple(progress.stamps[first:end]),
            last=progress.stamps[end - 1],
        )

    def _output(self, name: str, number: int, count: int) -> Any:
        if self._tokens_on == "device":
            there: Mapping[str, Array] = (
                self._step.outputs if self._device is None else self._device.outputs
            )
            return there[name][number][:count] if name in there else None
        array = self._step.outputs.get(name)
        return None if array is None else array[number, :count].copy()

    def _check(self, frame: Array, slot: int, number: int) -> None:
        expected = self._buffer
        if frame.shape == expected.shape[2:] and frame.dtype == expected.dtype:
            return
        got = described(frame)
        if number:
            raise StreamError(
                f"Frame {number} of slot {slot} is {got}, the frames before it were "
                f"{expected.dtype} {list(expected.shape[2:])}. A stream keeps its size and type: "
                "resize the frame, or finish() the stream."
            )
        size = f"{self.manifest.height}x{self.manifest.width}"
        if frame.shape == expected.shape[2:]:
            values = "0 to 255" if expected.dtype == np.uint8 else "-1 to 1"
            then = f"Convert it to {expected.dtype}, values from {values}."
        elif frame.ndim != 3 or frame.shape[-1] != 3:
            then = "Give one frame as [height, width, 3], RGB."
        else:
            then = "Resize the frame, or export a bundle of its size."
        raise StreamError(
            f"The frame is {got}; this bundle takes {expected.dtype} {list(expected.shape[2:])} "
            f"(--size {size}). {then}"
        )
