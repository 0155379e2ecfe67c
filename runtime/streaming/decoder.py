"""Latents in, frames out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.backends.arrays import Array, Borrowed, described
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.latents import Latents
from vidtok_edge.runtime.streaming.slots import Slots

__all__ = ["Picture", "StreamDecoder"]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded frame. The array is the caller's own."""

    slot: int
    frame: int
    """Its number in the stream, from 0."""
    pixels: NDArray[Any]
    """[H, W, 3] RGB, uint8 (float32 with `--io float`)."""


@dataclass(slots=True)
class _StreamState:
    latents: int = 0
    """Latents that the stream was given."""
    frames_real: int = 0
    """Frames that they stand for."""
    outputs: int = 0
    """Frames that the graph put out, those to drop included."""


class StreamDecoder(Slots[Picture]):
    """A streaming decoder, from `Bundle.decoder`; exact as the encoder is.

    docs/streaming.md, section 6.2.
    """

    def __init__(self, manifest: Manifest, step: Step, depth: int = 1) -> None:
        name = "tokens" if manifest.model.latent == "fsq" else "latent"
        super().__init__(manifest, step, manifest.chunk, name, depth)
        self._progress = [_StreamState() for _ in range(manifest.streams)]

    def __enter__(self) -> StreamDecoder:
        return self

    def push(self, latents: Latents) -> list[Picture]:
        """Give the next latents of stream `latents.slot`.

        Returns:
            The frames that are ready, in order; for v1.1 models f - 1 frames fewer than were
            encoded, until `finish`.

        Raises:
            StreamError: latents of another model or out of order, a closed stream; no `Latents`.
        """
        if not isinstance(latents, Latents):
            raise StreamError(
                f"Got {type(latents).__name__}; push takes Latents, as an encoder gives them. Give "
                "bare arrays to push_values, tokens int32 [n, h, w]."
            )
        self._slot(latents.slot)
        expected = self._progress[latents.slot].latents
        if latents.index != expected:
            raise StreamError(
                f"Latent {latents.index} of slot {latents.slot} came where {expected} was due: one "
                "was lost, or another stream began. finish() or reset() the slot, and go on from a "
                "latent 0."
            )
        return self.push_values(latents.values, slot=latents.slot, frames_real=latents.frames_real)

    def push_values(
        self, values: Any, *, slot: int = 0, frames_real: int | None = None
    ) -> list[Picture]:
        """As `push`, for bare arrays.

        Args:
            values: tokens int32 [n, h, w], or KL latents float32 [n, z, h, w]: a NumPy array, or
                any that has `__dlpack__` or `__cuda_array_interface__`. What is on the GPU of an
                engine is copied to the host and back: tokens are held to their range there.
            slot: whose stream.
            frames_real: how many frames they stand for, where it is less than their share: the
                stream's tail.
        """
        self._slot(slot)
        values = self._on_host(values)
        self._check_range(values)
        progress, framing = self._progress[slot], self.framing
        self._check_frames_real(progress, len(values), frames_real)
        results: list[Picture] = []
        for value in values:
            results += self._make_room(slot)
            index = progress.latents
            share = len(framing.share(index))
            real = share if frames_real is None else min(share, frames_real)
            if frames_real is not None:
                frames_real -= real
            progress.latents += 1
            progress.frames_real += real
            results += self._put(slot, value)
        return results

    def finish(self, slot: int = 0) -> list[Picture]:
        """End a stream: the frames still inside. The slot's next latents begin a new stream.

        Frames of other slots may be ready too, if they waited for this one only.
        """
        state = self._slot(slot)
        results = self._make_room(slot)
        if state.filled and not self.framing.causal:
            raise StreamError(
                f"A non-causal stream is decoded in windows of {self._capacity} latents; the last "
                f"one has {state.filled}. Push whole windows, as the encoder returns them."
            )
        held_back = self.framing.delayed and self._progress[slot].latents > 1
        results += self._taken()
        if state.filled or held_back:
            results += self._flush(slot, state.filled, held_back)
        self.reset(slot)
        return results + self._run_complete() + self._taken()

    def reset(self, slot: int = 0) -> None:
        """Forget a stream: what is still inside is dropped, the next latents begin a new one."""
        self._slot(slot)
        self._end(slot)
        self._progress[slot] = _StreamState()

    def _flush(self, slot: int, filled: int, end: bool) -> list[Picture]:
        """A last call: `filled` latents, then dummies, the first of them with `end`."""
        step = self._step
        self._buffer[slot, filled:] = 0
        self._slots[slot].filled = self._capacity
        if end:
            step.inputs["end"][slot, filled] = True
        results = self._run(self._full()) + self._taken()
        if end:  # not after a failed call: a closed step has no inputs
            step.inputs["end"][slot, filled] = False
        return results

    def _collect(self, number: int) -> list[Picture]:
        progress = self._progress[number]
        frames = self._step.outputs["frames"][number]
        first, progress.outputs = progress.outputs, progress.outputs + len(frames)
        pictures = []
        for offset, pixels in enumerate(frames):
            frame = self.framing.frame_of_output(first + offset)
            if frame is not None and frame < progress.frames_real:
                pictures.append(Picture(number, frame, pixels.copy()))
        return pictures

    def _on_host(self, values: Any) -> NDArray[Any]:
        """`values` where their range can be looked at; refused where they are no latents."""
        found = self._borrowed(values, "An array of latents", None)
        if not isinstance(found, Borrowed):
            self._check_layout(found)
            return found
        assert self._device is not None  # else it would not have been borrowed
        self._check_layout(found.array)
        self._device.check(found)
        return self._device.read(found)

    def _check_layout(self, values: Array) -> None:
        expected, shape = self._buffer, self._buffer.shape[2:]
        fits = values.ndim == expected.ndim - 1 and values.shape[1:] == shape
        if fits and values.dtype == expected.dtype:
            return
        if fits:
            then = f"Convert them to {expected.dtype}."
        elif values.shape == shape:
            then = "Give one as values[None]."
        else:
            then = "Decode with the bundle that encoded them."
        raise StreamError(
            f"Latents are {expected.dtype} [n, {', '.join(map(str, shape))}], "
            f"got {described(values)}. {then}"
        )

    def _check_range(self, values: NDArray[Any]) -> None:
        size = self.manifest.model.codebook_size
        if size and values.size and not 0 <= int(values.min()) <= int(values.max()) < size:
            raise StreamError(
                f"Tokens lie in 0 to {size - 1}, got {int(values.min())} to {int(values.max())}. "
                "Decode with the variant that wrote them."
            )

    def _check_frames_real(
        self, progress: _StreamState, count: int, frames_real: int | None
    ) -> None:
        index, share_of = progress.latents, self.framing.first_frame
        share = share_of(index + count) - share_of(index)
        real = share if frames_real is None else frames_real
        if not 0 <= real <= share:
            raise StreamError(f"{count} latents stand for 0 to {share} frames, not {real}.")
        if real and progress.frames_real < share_of(index):
            raise StreamError(
                f"Latent {index} follows a tail: the latents before it stand for "
                f"{progress.frames_real} frames, not {share_of(index)}. finish() the stream first."
            )
