"""A golden stream through a step: slot 0 as it is, the others reset in its midst, and once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.runtime.backends.step import Step, poison
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.proving.scenes import as_bytes, sampled_pixels
from vidtok_edge.runtime.streaming.decoder import Picture, StreamDecoder
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.runtime.streaming.latents import Latents

__all__ = ["Run", "decoded", "encoded"]

Array = NDArray[Any]

_AGAIN = 4
"""Latents that are streamed a second time, over caches full of NaN."""


@dataclass(slots=True)
class Run:
    """What a step made of a golden stream: of an encoder latents, of a decoder pictures."""

    items: list[Array] = field(default_factory=list)
    """Of slot 0: of a latent its values [h, w] or [z, h, w], of a picture the sampled pixels."""
    raw: list[Array] = field(default_factory=list)
    """[z, h, w] before quantisation, of each latent, where the step gives `latent`."""
    digests: dict[int, list[str]] = field(default_factory=dict)
    """Of each slot the SHA-256 of each whole item; of all but slot 0 since it was reset."""
    again: list[str] = field(default_factory=list)
    """Of slot 0, the SHA-256 of the first items, once more."""
    calls_ns: list[int] = field(default_factory=list)
    """What each call of the first stream took."""


def encoded(
    manifest: Manifest,
    step: Step,
    frames: Iterable[Array],
    *,
    alone: bool = False,
    told: Callable[[], None] = lambda: None,
) -> Run:
    """`frames`, each [H, W, 3], through an encoder.

    Args:
        manifest: of the bundle.
        step: its encoder; left open, its caches spoilt.
        frames: in order.
        alone: only slot 0, and only once.
        told: called with each frame that went in.
    """
    framing = Framing.of(manifest.model)
    plan = _Plan(manifest, framing.first_frame, lambda latents: latents * framing.time_factor)
    return plan.run(lambda: _Encoding(manifest, step), list(frames), alone, told)


def decoded(
    manifest: Manifest,
    step: Step,
    values: Iterable[Array],
    *,
    alone: bool = False,
    told: Callable[[], None] = lambda: None,
) -> Run:
    """`values`, each [h, w] or [z, h, w], through a decoder; arguments as `encoded`."""
    plan = _Plan(manifest, lambda latents: latents, lambda latents: latents)
    return plan.run(lambda: _Decoding(manifest, step), list(values), alone, told)


class _Half(Protocol):
    """An encoder or a decoder, whose results are told in one way."""

    step: Step
    run: Run
    """What it gave; `digests` of every slot."""

    def push(self, item: Array, slot: int) -> None: ...

    def finish(self, slot: int) -> None: ...

    def reset(self, slot: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which slot gets what, and when.

    `units` is how many frames, or latents, go in for the first n latents; `lateness` how much later
    a stream that is reset behind n latents begins anew, so that its calls are full when those of
    slot 0 are: then none waits for another.
    """

    manifest: Manifest
    units: Callable[[int], int]
    lateness: Callable[[int], int]

    def run(
        self,
        opened: Callable[[], _Half],
        given: Sequence[Array],
        alone: bool,
        told: Callable[[], None],
    ) -> Run:
        chunk, half = self.manifest.chunk, opened()
        # Ones, and NaN in the second run: what is read of either is seen in one of them.
        half.step.set_caches({n: np.ones_like(value) for n, value in half.step.caches().items()})
        slots = 1 if alone else self.manifest.streams
        self._together(half, given, slots, max(2, chunk), told)
        if alone:
            return half.run
        poison(half.step)
        second = opened()
        for item in given[: self.units(-(-_AGAIN // chunk) * chunk)]:
            second.push(item, 0)
        half.run.again = second.run.digests[0]
        return half.run

    def _together(
        self,
        half: _Half,
        given: Sequence[Array],
        slots: int,
        before_reset: int,
        told: Callable[[], None],
    ) -> None:
        """Slot 0 from the first item to the last; the others begin twice, and pause."""
        reset, late = self.units(before_reset), self.lateness(before_reset)
        pause = self.lateness(2 * self.manifest.chunk)  # so long that a call runs without them
        for tick in range(len(given) + (late + pause if slots > 1 else 0)):
            for slot in range(slots):
                at = tick
                if slot and tick >= reset:
                    at = tick - late
                    if tick == reset:
                        half.reset(slot)
                    if at >= reset:
                        at = at - pause if at >= reset + pause else -1
                if 0 <= at < len(given):
                    half.push(given[at], slot)
                    if at == len(given) - 1:
                        half.finish(slot)
            if tick < len(given):
                told()


class _Encoding:
    def __init__(self, manifest: Manifest, step: Step) -> None:
        self.step, self.run = step, Run()
        self._encoder, self._calls = StreamEncoder(manifest, step), _Calls(self.run)

    def push(self, item: Array, slot: int) -> None:
        self._keep(self._encoder.push(item, slot=slot))

    def finish(self, slot: int) -> None:
        self._keep(self._encoder.finish(slot))

    def reset(self, slot: int) -> None:
        self._encoder.reset(slot)
        self.run.digests.pop(slot, None)

    def _keep(self, results: list[Latents]) -> None:
        self._calls.note(self._encoder)
        for latents in results:
            digests = self.run.digests.setdefault(latents.slot, [])
            digests += [_digest(latent.values, latent.logvar) for latent in latents]
            if latents.slot == 0:
                self.run.items += list(latents.values)
                if (raw := self.step.outputs.get("latent")) is not None:
                    self.run.raw += list(raw[0, : len(latents)].copy())


class _Decoding:
    def __init__(self, manifest: Manifest, step: Step) -> None:
        self.step, self.run = step, Run()
        self._decoder, self._calls = StreamDecoder(manifest, step), _Calls(self.run)

    def push(self, item: Array, slot: int) -> None:
        self._keep(self._decoder.push_values(item[None], slot=slot))

    def finish(self, slot: int) -> None:
        self._keep(self._decoder.finish(slot))

    def reset(self, slot: int) -> None:
        self._decoder.reset(slot)
        self.run.digests.pop(slot, None)

    def _keep(self, results: list[Picture]) -> None:
        self._calls.note(self._decoder)
        for picture in results:
            pixels = as_bytes(picture.pixels)
            self.run.digests.setdefault(picture.slot, []).append(_digest(pixels))
            if picture.slot == 0:
                self.run.items.append(sampled_pixels(pixels, picture.frame))


class _Calls:
    """What each call of a stream took, from the sum over all of them that streams keep."""

    def __init__(self, run: Run) -> None:
        self._run, self._total_ns = run, 0

    def note(self, stream: StreamEncoder | StreamDecoder) -> None:
        new = stream.calls - len(self._run.calls_ns)
        if new:
            total = stream.step_times.total_ns
            self._run.calls_ns += [(total - self._total_ns) // new] * new
            self._total_ns = total


def _digest(*values: Array | None) -> str:
    return sha256_of_parts(value.tobytes() for value in values if value is not None)
