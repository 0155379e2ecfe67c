"""The clips that a bundle is streamed, and what the whole-clip model makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.vidtok_ref import Latents, VidTok, embedded_file
from vidtok_edge.vidtok_ref.regularizer import fsq_bound

__all__ = [
    "BOUNDARY",
    "FLOAT_LIMIT",
    "Array",
    "WholeClip",
    "as_input",
    "margin_of",
    "noise",
    "sources",
    "whole_clip",
]

FLOAT_LIMIT = 2e-5
"""Max abs difference of float32 outputs (design, "Numbers that must hold")."""
BOUNDARY = 1e-4
"""A token may differ where the reference lies this close to a boundary between two levels."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class WholeClip:
    """Frames as the bundle takes them, and what the whole-clip model makes of them."""

    frames: Array
    """[T, H, W, 3], a tail of less than a latent included."""
    tokens: Array | None
    """[t, h, w] for FSQ, else None."""
    encoded: Array
    """[t, C, h, w], the encoder's outputs but the tokens."""
    margin: Array | None
    """[t, h, w], distance of the FSQ bound to the nearest boundary, the least over the channels."""
    decoded: Array
    """[T, H, W, 3] float32 in [-1, 1]: the decode of its own latents, cut to the real frames."""

    @property
    def values(self) -> Array:
        """What the decoder takes: tokens [t, h, w] or mean [t, z, h, w]."""
        if self.tokens is not None:
            return self.tokens
        return np.ascontiguousarray(self.encoded[:, : self.encoded.shape[1] // 2])

    def compare_encoded(self, what: str, encoded: Array, tokens: Array | None) -> list[Comparison]:
        """Comparisons of an encoder's outputs, shapes as here."""
        distance = _distance(encoded, self.encoded)
        comparisons = [
            Comparison(name=what, metric="max |difference|", value=distance, limit=FLOAT_LIMIT)
        ]
        if self.tokens is not None and self.margin is not None and tokens is not None:
            comparisons.append(_compare_tokens(what, tokens, self.tokens, self.margin))
        return comparisons

    def compare_decoded(self, what: str, frames: Array) -> Comparison:
        """Comparison of a decoder's frames, as many as there are.

        Of uint8 frames counts what is left after half a level of rounding.
        """
        reference = self.decoded[: len(frames)]
        if frames.dtype != np.uint8:
            distance, note = _distance(frames, reference), ""
        elif frames.shape != reference.shape:
            distance, note = float("inf"), "shapes differ"
        else:
            exact = (reference.clip(-1, 1).astype(np.float64) + 1) * 127.5
            distance = float(max(0.0, (np.abs(frames - exact) - 0.5).max() / 127.5))
            note = "uint8: beyond rounding"
        return Comparison(
            name=what, metric="max |difference|", value=distance, limit=FLOAT_LIMIT, note=note
        )


def _distance(a: Array, b: Array) -> float:
    """Max abs difference; infinite where shapes differ, so that it cannot pass."""
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def _compare_tokens(what: str, got: Array, tokens: Array, margin: Array) -> Comparison:
    if got.shape != tokens.shape:
        return Comparison(
            name=what,
            metric="tokens that differ",
            value=float("inf"),
            limit=0,
            note="shapes differ",
        )
    flipped = got != tokens
    near = flipped & (margin < BOUNDARY)
    note = f"of {flipped.size}"
    if near.any():
        places = ", ".join(
            f"{tuple(int(i) for i in place)} at {margin[tuple(place)]:.1e}"
            for place in np.argwhere(near)[:8]
        )
        note += f"; {int(near.sum())} more within {BOUNDARY:g} of a boundary: {places}"
    return Comparison(
        name=what,
        metric="tokens that differ",
        value=int((flipped & ~near).sum()),
        limit=0,
        note=note,
    )


def sources(manifest: Manifest) -> Iterator[tuple[str, Array]]:
    """Seeded noise and the shipped clip, each three latents and a tail."""
    framing = Framing.of(manifest.model)
    latents = 3 if manifest.model.causal else manifest.chunk
    frames = framing.first_frame(latents) + max(1, manifest.model.time_factor // 2)
    yield "noise", noise(manifest, frames, seed=0)
    size = (manifest.height, manifest.width)
    with ClipReader(embedded_file("clip_robot.mp4"), size=size) as clip:
        pixels = [frame.pixels for frame, _ in zip(clip, range(frames), strict=False)]
    yield "clip", as_input(np.stack(pixels), manifest)


def noise(manifest: Manifest, frames: int, seed: int) -> Array:
    """[T, H, W, 3], as the bundle takes frames."""
    size = (frames, manifest.height, manifest.width, 3)
    return as_input(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8), manifest)


def as_input(pixels: Array, manifest: Manifest) -> Array:
    """uint8 pixels as the bundle takes frames."""
    if manifest.io == "uint8":
        return pixels
    return (pixels / np.float32(127.5) - 1).astype(np.float32)


def whole_clip(model: VidTok, manifest: Manifest, frames: Array) -> WholeClip:
    """The whole-clip encode and decode of `frames`, the last one repeated up to a whole latent."""
    framing = Framing.of(manifest.model)
    real = len(frames)
    # A non-causal stream is cut into whole windows, each a clip of its own.
    size = manifest.chunk_frames
    whole = framing.first_frame(framing.latents(real))
    total = whole if manifest.model.causal else -(-real // size) * size
    padded = np.concatenate([frames, np.repeat(frames[-1:], total - real, axis=0)])
    windows = [padded] if manifest.model.causal else np.split(padded, total // size)
    with torch.inference_mode():
        latents = [model.encode(_video(window)) for window in windows]
        decoded = torch.cat(
            [
                model.decode(part.latent)[:, :, -len(window) :]
                for part, window in zip(latents, windows, strict=True)
            ],
            dim=2,
        )
    encoded = torch.cat([_encoder_outputs(part) for part in latents], dim=2)
    keep = framing.latents(real) if manifest.model.causal else framing.latents(total)
    tokens = margin = None
    if manifest.model.latent == "fsq":
        tokens = torch.cat([p.tokens for p in latents if p.tokens is not None], dim=1)[0].numpy()
        tokens = tokens[:keep]
        margin = margin_of(encoded[0].transpose(0, 1).numpy()[:keep], manifest.model.levels)
    return WholeClip(
        frames,
        tokens,
        encoded[0].transpose(0, 1).numpy()[:keep],
        margin,
        decoded[0].permute(1, 2, 3, 0).numpy()[:real],
    )


def margin_of(encoded: Array, levels: tuple[int, ...]) -> Array:
    """[t, z, h, w] before quantisation to its distance from a boundary of two levels [t, h, w].

    In levels, so at most 0.5, and the least over the channels.
    """
    bound = fsq_bound(torch.from_numpy(encoded).transpose(0, 1).unsqueeze(0), levels)
    margin: Array = (0.5 - (bound - bound.round()).abs()).amin(dim=1)[0].numpy()
    return margin


def _encoder_outputs(latents: Latents) -> torch.Tensor:
    """[1, C, t, h, w] as the graph puts it out: before quantisation, or mean and clamped logvar."""
    if latents.logvar is None:
        return latents.encoded
    return torch.cat([latents.latent, latents.logvar], dim=1)


def _video(frames: Array) -> torch.Tensor:
    """[T, H, W, 3] as the bundle takes it to [1, 3, T, H, W] in [-1, 1]."""
    video = torch.from_numpy(frames)
    if video.dtype == torch.uint8:
        video = video.to(torch.float32) / 127.5 - 1
    return video.permute(3, 0, 1, 2).unsqueeze(0).contiguous()
