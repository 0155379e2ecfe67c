"""What FP16 and INT8 cost: their streams against the float32 one, frame by frame, token by token.

Each precision decodes its own latents, so what is compared is what a user gets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import Event

import numpy as np

from vidtok_edge.export.verifying.loss import FLIP_EDGES, Loss
from vidtok_edge.export.verifying.shipped_clips import shipped_frames
from vidtok_edge.export.verifying.step_pair import StepPair, poison
from vidtok_edge.export.verifying.whole_clip import Array, as_input, margin_of
from vidtok_edge.runtime import StreamDecoder, StreamEncoder
from vidtok_edge.runtime.clips.quality import psnr, ssim
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.framing import Framing

__all__ = ["FloatStreams", "Stream", "as_bytes", "loss_between", "losses"]

CLIPS = {
    "robot": ("clip_robot.mp4", 10),
    "film": ("clip_film.mp4", 4),
    "hard": ("clip_hard_unseen.mp4", 5),
}
"""The shipped clips and how many latents of each. INT8 is calibrated on the first by default, never
on the others: scene cuts; fast pans, small text, darkness and noise."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A clip through encoder and decoder."""

    tokens: Array | None
    """[t, h, w]; KL: None."""
    encoded: Array
    """[t, C, h, w] float32: before quantisation, or the mean."""
    frames: Array
    """uint8 [T, H, W, 3]."""

    @property
    def values(self) -> Array:
        """What a decoder takes: tokens, or means."""
        return self.encoded if self.tokens is None else self.tokens


class FloatStreams:
    """The float32 streams that every precision is compared with; computed once.

    Args:
        manifest: of the bundle.
        pair: its float32 graphs, or the lowered steps in PyTorch.

    Attributes:
        stop: set by another thread, ends what `losses` streams; it raises CancelledError.
    """

    def __init__(self, manifest: Manifest, pair: StepPair) -> None:
        self.manifest, self.stop = manifest, Event()
        self.sources = dict(_sources(manifest))
        self.streams = {
            name: _stream(manifest, pair, frames, self.stop)
            for name, frames in self.sources.items()
        }
        self.losses = [
            loss_between("fp32", name, manifest, source, self.streams[name], self.streams[name])
            for name, source in self.sources.items()
        ]


def losses(floats: FloatStreams, graphs: str, pair: StepPair) -> list[Loss]:
    """The clips through the graphs of `pair`, which are called `graphs`."""
    return [
        loss_between(
            graphs,
            name,
            floats.manifest,
            source,
            floats.streams[name],
            _stream(floats.manifest, pair, source, floats.stop),
        )
        for name, source in floats.sources.items()
    ]


def _sources(manifest: Manifest) -> Iterator[tuple[str, Array]]:
    """uint8 [T, H, W, 3] of each clip, with a tail of less than a latent."""
    framing = Framing.of(manifest.model)
    for name, (file, latents) in CLIPS.items():
        if not framing.causal:
            latents = manifest.chunk * (2 if name == "robot" else 1)
        frames = framing.first_frame(latents) + max(1, framing.time_factor // 2)
        yield name, shipped_frames(file, (manifest.height, manifest.width), frames)


def _stream(manifest: Manifest, pair: StepPair, pixels: Array, stop: Event) -> Stream:
    """A clip through slot 0, over caches full of rubbish."""
    poison(pair.encoder)
    poison(pair.decoder)
    encoder = StreamEncoder(manifest, pair.encoder)
    decoder = StreamDecoder(manifest, pair.decoder)
    step = pair.encoder
    name = "latent" if "latent" in step.outputs else "mean"
    values, encoded, pictures = [], [], []
    for frame in [*as_input(pixels, manifest), None]:
        if stop.is_set():
            raise CancelledError
        for latents in encoder.finish() if frame is None else encoder.push(frame):
            values.append(latents.values)
            encoded.append(step.outputs[name][0, : len(latents)].copy())
            pictures += decoder.push(latents)
    pictures += decoder.finish()
    return Stream(
        np.concatenate(values) if values[0].dtype == np.int32 else None,
        np.concatenate(encoded),
        np.stack([as_bytes(picture.pixels) for picture in pictures]),
    )


def as_bytes(pixels: Array) -> Array:
    """Frames in [-1, 1] as uint8; those that are uint8 as they are."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


def loss_between(
    graphs: str, name: str, manifest: Manifest, source: Array, exact: Stream, got: Stream
) -> Loss:
    """What `got` lost to `exact`, streams of the clip `name`; `source` uint8 [T, H, W, 3]."""
    tokens_equal, off_by_one, flips = _token_facts(manifest, exact, got)
    source_psnr, source_ssim = psnr(source, got.frames), ssim(source, got.frames)
    return Loss(
        graphs=graphs,
        clip=name,
        tokens=None if got.tokens is None else got.tokens.size,
        tokens_equal=tokens_equal,
        off_by_one=off_by_one,
        flips=flips,
        psnr_db=psnr(exact.frames, got.frames),
        source_psnr_db=source_psnr,
        source_ssim=source_ssim,
        loss_db=psnr(source, exact.frames) - source_psnr,
        ssim_loss=ssim(source, exact.frames) - source_ssim,
        drift_db=_drift(exact.encoded, got.encoded),
    )


def _token_facts(
    manifest: Manifest, exact: Stream, got: Stream
) -> tuple[float | None, float | None, tuple[int, ...]]:
    if exact.tokens is None or got.tokens is None:
        return None, None, ()
    levels = manifest.model.levels
    differ = exact.tokens != got.tokens
    steps = np.abs(_digits(exact.tokens, levels) - _digits(got.tokens, levels)).sum(axis=0)
    margin = margin_of(exact.encoded, levels)
    flips = np.histogram(margin[differ], bins=FLIP_EDGES)[0]
    return (
        1 - float(differ.mean()),
        float((steps == 1).mean()),
        tuple(int(count) for count in flips),
    )


def _digits(tokens: Array, levels: tuple[int, ...]) -> Array:
    """[...] to the level of each dimension, [z, ...]."""
    digits, rest = [], tokens.astype(np.int64)
    for n in levels:
        digits.append(rest % n)
        rest = rest // n
    return np.stack(digits)


def _drift(exact: Array, got: Array) -> float | None:
    """dB of mean squared error of the last third of the latents over that of the first."""
    third = len(exact) // 3
    if third < 3:
        return None  # of so few latents it would say more about the scene
    error = ((exact.astype(np.float64) - got) ** 2).reshape(len(exact), -1).mean(axis=1)
    first, last = float(error[:third].mean()), float(error[-third:].mean())
    if not math.isfinite(last):
        return math.inf
    return 10 * math.log10(last / first) if first > 0 and last > 0 else 0.0
