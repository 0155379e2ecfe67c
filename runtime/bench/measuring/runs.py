"""One measured run: frames of one or several cameras through an encoder, and perhaps a decoder."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.runtime.bench.measuring.cameras import (
    Camera,
    Clock,
    PacedCameras,
    Released,
    SaturatedCameras,
)
from vidtok_edge.runtime.bench.meters.sampling import peak_rss_mb
from vidtok_edge.runtime.bench.settings import Pace
from vidtok_edge.runtime.streaming.decoder import Picture, StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.slots import Slots

__all__ = ["Calls", "Measured", "run_measured"]

FIRST_CALLS = 3
_NEVER = 1 << 63
ShareDone = Callable[[float], None]
"""Is told which share of the run is done."""


@dataclass(slots=True, kw_only=True)
class Calls:
    """Where the time of each call of a step went, in nanoseconds."""

    upload_ns: list[int] = field(default_factory=list)
    compute_ns: list[int] = field(default_factory=list)
    download_ns: list[int] = field(default_factory=list)
    overhead_ns: list[int] = field(default_factory=list)
    """Time inside the pushes that filled and made the call, less the three above."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """What one run measured, its warm-up excluded. Lists of lists: by slot."""

    latency_ns: list[list[int]]
    """Of each latent: from the release of its last frame to its tokens in host memory."""
    ready_ns: list[list[int]]
    """When that was, since measuring began."""
    picture_latency_ns: list[list[int]]
    """Of each decoded frame: from its release to its pixels in host memory."""
    encoder: Calls = field(default_factory=Calls)
    decoder: Calls = field(default_factory=Calls)
    begin_ns: int = 0
    """When measuring began, on the monotonic clock."""
    first_token_ns: int = 0
    """From the first frame of the run, warm-up included, to the first tokens."""
    frames: int = 0
    """Frames that were pushed in that time, all slots."""
    dropped: int = 0
    most_waiting: int = 0
    waiting_at_end: int = 0
    unfinished: int = 0
    """Frames that still waited when the run was given up. Their latents are among `latency_ns`,
    and all pictures that had not come are among `picture_latency_ns`, with the time that they had
    waited: the least that they can have taken."""
    elapsed_ns: int = 0
    busy_ns: int = 0
    """Of that, inside `push` of encoder and decoder."""
    cpu_ns: int = 0
    """CPU time of the whole process, all threads."""
    peak_rss_mb: float | None = None
    """Of the process, start-up and warm-up included."""


def run_measured(
    encoder: StreamEncoder,
    decoder: StreamDecoder | None,
    frames: Sequence[NDArray[Any]],
    pace: Pace,
    *,
    warmup_s: float,
    seconds: float,
    clock: Clock | None = None,
    progress: ShareDone = lambda share: None,
) -> Measured:
    """Stream `frames`, again and again, and measure after `warmup_s` for `seconds`.

    It begins with `FIRST_CALLS` calls as fast as they go: what a library puts off until its first
    calls would else be a backlog that the measured part begins with. The stream is one and goes on
    through these and the warm-up. A paced run ends when every frame that was released in time is
    through, or has been late for as long as the run is.

    Args:
        encoder, decoder: fresh; closed by the caller.
        frames: each as the encoder takes it. Slots begin at different ones.
        pace: saturated, or how cameras release frames.
    """
    clock = clock or Clock()
    slots = encoder.manifest.streams
    run = _Run(encoder, decoder, clock)
    for number in range(FIRST_CALLS * encoder.manifest.chunk_frames):
        for slot in range(slots):
            run.take(frames[number % len(frames)], slot, clock.now_ns())
    start = clock.now_ns()
    begin = start + round(warmup_s * 1e9)
    end = begin + round(seconds * 1e9)
    camera: Camera
    if pace.fps is None:
        camera = SaturatedCameras(slots=slots, end_ns=end, clock=clock)
    else:
        camera = PacedCameras(
            slots=slots,
            fps=pace.fps,
            start_ns=start,
            measure_ns=begin,
            end_ns=end,
            give_up_ns=2 * end - start,
            clock=clock,
            policy=pace.policy,
            capacity=pace.capacity,
        )
    run.begin(begin)
    told = start
    while (released := camera.next()) is not None:
        run.take(
            frames[(released.number + 7 * released.slot) % len(frames)],
            released.slot,
            released.time_ns,
        )
        if (now := clock.now_ns()) - told > 200_000_000:
            told = now
            progress(min(1.0, (now - start) / (end - start)))
    return run.finished(camera, begin, end)


class _Run:
    """Takes frames and keeps the books; nothing counts before `begin`."""

    def __init__(self, encoder: StreamEncoder, decoder: StreamDecoder | None, clock: Clock) -> None:
        self._encoder, self._decoder, self._clock = encoder, decoder, clock
        self._begin = _NEVER
        slots = encoder.manifest.streams
        self._latency, self._ready, self._pictures = (_arrays(slots) for _ in range(3))
        self._encoding = _Ledger(encoder)
        self._decoding = None if decoder is None else _Ledger(decoder)
        self._result = Measured(latency_ns=[], ready_ns=[], picture_latency_ns=[])
        self._undecoded: list[deque[int]] = [deque() for _ in range(slots)]
        """Release times of frames whose pictures are to come."""
        self._pushed = [0] * slots
        self._first_ns: int | None = None
        self._cpu_at_begin: int | None = None
        self._ended = 0

    def begin(self, time_ns: int) -> None:
        """What is released from then on counts."""
        self._begin = time_ns

    def take(self, pixels: NDArray[Any], slot: int, released_ns: int) -> None:
        """Push one frame, and decode what comes of it."""
        began = self._clock.now_ns()
        if self._first_ns is None:
            self._first_ns = released_ns
        if began >= self._begin and self._cpu_at_begin is None:
            self._cpu_at_begin = time.process_time_ns()
        latents = self._encoder.push(pixels, slot=slot, capture_time_ns=released_ns)
        ready = self._clock.now_ns()
        self._account(self._encoding, began, ready)
        self._pushed[slot] += 1
        if began >= self._begin:  # as with `busy_ns`: also one that waited since the warm-up
            self._result.frames += 1
        if latents and not self._result.first_token_ns:
            self._result.first_token_ns = ready - self._first_ns
        for one in latents:
            for stamp in one.capture_time_ns.tolist():
                if stamp >= self._begin:
                    self._latency[one.slot].append(ready - stamp)
                    self._ready[one.slot].append(ready - self._begin)
        if self._decoder is None or self._decoding is None:
            return
        self._undecoded[slot].append(released_ns)
        # What came of one call of the encoder is decoded in one, too: a slot that began after the
        # others would else be a latent behind them for good.
        decoder = self._decoder
        calls: list[Callable[[], list[Picture]]] = [partial(decoder.push, one) for one in latents]
        calls += [decoder.run_pending] if latents else []
        for call in calls:
            began = self._clock.now_ns()
            pictures = call()
            ready = self._clock.now_ns()
            self._account(self._decoding, began, ready)
            for picture in pictures:
                stamp = self._undecoded[picture.slot].popleft()
                if stamp >= self._begin:
                    self._pictures[picture.slot].append(ready - stamp)

    def _account(self, ledger: _Ledger, began: int, ready: int) -> None:
        measured = began >= self._begin
        ledger.add(ready - began, measured)
        if measured:
            self._result.busy_ns += ready - began
        self._ended = max(self._ended, ready)

    def finished(self, camera: Camera, begin_ns: int, end_ns: int) -> Measured:
        """The result; the streams are left where they are."""
        result = self._result
        result.peak_rss_mb = peak_rss_mb()  # now: the lists that follow are larger than the arrays
        self._count_unfinished(camera.unfinished)
        result.latency_ns = [list(values) for values in self._latency]
        result.ready_ns = [list(values) for values in self._ready]
        result.picture_latency_ns = [list(values) for values in self._pictures]
        result.encoder = self._encoding.calls()
        result.decoder = Calls() if self._decoding is None else self._decoding.calls()
        result.begin_ns = begin_ns
        result.elapsed_ns = max(self._ended, end_ns) - begin_ns
        if self._cpu_at_begin is not None:
            result.cpu_ns = time.process_time_ns() - self._cpu_at_begin
        result.dropped, result.most_waiting = camera.dropped, camera.most_waiting
        result.waiting_at_end, result.unfinished = camera.waiting_at_end, len(camera.unfinished)
        return result

    def _count_unfinished(self, frames: Sequence[Released]) -> None:
        """Leaving them out would make a run look better, the worse it went."""
        if not frames:
            return
        now, framing = self._clock.now_ns(), self._encoder.framing
        for frame in frames:
            self._pushed[frame.slot] += 1
            count = self._pushed[frame.slot]
            completes = count % framing.time_factor == (1 if framing.causal else 0)
            if completes and frame.time_ns >= self._begin:
                self._latency[frame.slot].append(now - frame.time_ns)
                self._ready[frame.slot].append(now - self._begin)
            self._undecoded[frame.slot].append(frame.time_ns)
        if self._decoder is not None:
            for pictures, stamps in zip(self._pictures, self._undecoded, strict=True):
                pictures.extend(now - stamp for stamp in stamps if stamp >= self._begin)


class _Ledger:
    """Sorts the time inside pushes into what the step took and what came on top."""

    def __init__(self, stream: Slots[Any]) -> None:
        self._stream = stream
        self._calls, self._times = stream.calls, stream.step_times
        self._parts = _arrays(4)
        self._pushing_ns = 0
        """Time in pushes since the last call, that of the call included."""

    def add(self, took_ns: int, measured: bool) -> None:
        """A push of `took_ns` has returned."""
        self._pushing_ns += took_ns
        calls = self._stream.calls - self._calls
        if not calls:
            return
        spent = self._stream.step_times - self._times
        if measured:
            overhead = self._pushing_ns - spent.total_ns
            values = spent.upload_ns, spent.compute_ns, spent.download_ns, overhead
            for _ in range(calls):  # two in one push are rare, and not told apart
                for part, value in zip(self._parts, values, strict=True):
                    part.append(value // calls)
        self._calls, self._times = self._stream.calls, self._stream.step_times
        self._pushing_ns = 0

    def calls(self) -> Calls:
        """All that were measured."""
        upload, compute, download, overhead = (list(part) for part in self._parts)
        return Calls(
            upload_ns=upload, compute_ns=compute, download_ns=download, overhead_ns=overhead
        )


def _arrays(count: int) -> list[array[int]]:
    """Eight bytes a value: lists of integers would show in the memory that is measured."""
    return [array("q") for _ in range(count)]
