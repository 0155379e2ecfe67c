"""The clips that a bundle is streamed, and what the whole-clip model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.rounding import compare_floats, in_float64
from vidtok_edge.export.verifying.shipped_clips import shipped_frames
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.vidtok_ref import Latents, VidTok
from vidtok_edge.vidtok_ref.regularizer import fsq_bound

__all__ = [
    "BOUNDARY",
    "Array",
    "Exact",
    "WholeClip",
    "as_input",
    "decode",
    "encode",
    "frames_first",
    "margin_of",
    "noise",
    "sources",
    "whole_clip",
]

BOUNDARY = 1e-4
"""A token may differ where the reference lies this close to a boundary between two levels."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Exact:
    """What the whole-clip model makes of a clip in float64; shapes as in `WholeClip`."""

    encoded: Array
    decoded: Array
    """The decode of the latents that the float32 model found, so that it is of the same codes."""


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
    exact: Callable[[], Exact]
    """The same in float64, computed when it is first asked for."""
    slope: float
    """How much faster than the encoder's output the FSQ bound moves, at most; 0 for KL."""

    @property
    def values(self) -> Array:
        """What the decoder takes: tokens [t, h, w] or mean [t, z, h, w]."""
        if self.tokens is not None:
            return self.tokens
        return np.ascontiguousarray(self.encoded[:, : self.encoded.shape[1] // 2])

    def compare_encoded(self, what: str, encoded: Array, tokens: Array | None) -> list[Comparison]:
        """Comparisons of an encoder's outputs, shapes as here."""
        floats = compare_floats(what, encoded, self.encoded, lambda: self.exact().encoded)
        if self.tokens is None or self.margin is None or tokens is None:
            return [floats]
        boundary = BOUNDARY
        if floats and encoded.shape == self.encoded.shape:
            # Rounding that was accepted moves a value this far towards a boundary.
            moved = float(np.abs(encoded - self.encoded).max())
            boundary = max(boundary, moved * self.slope)
        return [floats, _compare_tokens(what, tokens, self.tokens, self.margin, boundary)]

    def compare_decoded(self, what: str, frames: Array) -> Comparison:
        """Comparison of a decoder's frames, as many as there are.

        Of uint8 frames counts what is left after half a level of rounding.
        """
        count = len(frames)
        return compare_floats(
            what, frames, self.decoded[:count], lambda: self.exact().decoded[:count]
        )


def _compare_tokens(
    what: str, got: Array, tokens: Array, margin: Array, boundary: float
) -> Comparison:
    if got.shape != tokens.shape:
        return Comparison(
            name=what,
            metric="tokens that differ",
            value=float("inf"),
            limit=0,
            note="shapes differ",
        )
    flipped = got != tokens
    near = flipped & (margin < boundary)
    note = f"of {flipped.size}"
    if near.any():
        places = ", ".join(
            f"{tuple(int(i) for i in place)} at {margin[tuple(place)]:.1e}"
            for place in np.argwhere(near)[:8]
        )
        note += f"; {int(near.sum())} more within {boundary:g} of a boundary: {places}"
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
    yield "clip", as_input(shipped_frames("clip_robot.mp4", size, frames), manifest)


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
    latents = encode(model, windows, torch.float32)
    decoded = decode(model, latents, windows)
    encoded = torch.cat([_encoder_outputs(part) for part in latents], dim=2)
    keep = framing.latents(real) if manifest.model.causal else framing.latents(total)
    tokens = margin = None
    if manifest.model.latent == "fsq":
        tokens = torch.cat([p.tokens for p in latents if p.tokens is not None], dim=1)[0].numpy()
        tokens = tokens[:keep]
        margin = margin_of(_latents_first(encoded)[:keep], manifest.model.levels)

    @cache
    def exact() -> Exact:
        exactly = in_float64(model)
        parts = encode(exactly, windows, torch.float64)
        outputs = torch.cat([_encoder_outputs(part) for part in parts], dim=2)
        same_codes = [replace(part, latent=part.latent.double()) for part in latents]
        frames = decode(exactly, same_codes, windows)
        return Exact(_latents_first(outputs)[:keep], frames_first(frames)[:real])

    return WholeClip(
        frames,
        tokens,
        _latents_first(encoded)[:keep],
        margin,
        frames_first(decoded)[:real],
        exact,
        max(((n - 1) * (1 + 1e-3) / 2 for n in manifest.model.levels), default=0.0),
    )


def encode(model: VidTok, windows: Sequence[Array], dtype: torch.dtype) -> list[Latents]:
    """The latents of each window [T, H, W, 3], computed in `dtype`."""
    with torch.inference_mode():
        return [model.encode(_video(window, dtype)) for window in windows]


def decode(model: VidTok, latents: Sequence[Latents], windows: Sequence[Array]) -> torch.Tensor:
    """[1, 3, T, H, W]: the frames of all windows, decoded from `latents`."""
    with torch.inference_mode():
        parts = [
            model.decode(part.latent)[:, :, -len(window) :]
            for part, window in zip(latents, windows, strict=True)
        ]
    return torch.cat(parts, dim=2)


def _latents_first(encoded: torch.Tensor) -> Array:
    """[1, C, t, h, w] to [t, C, h, w]."""
    values: Array = encoded[0].transpose(0, 1).numpy()
    return values


def frames_first(video: torch.Tensor) -> Array:
    """[1, 3, T, H, W] to [T, H, W, 3]."""
    values: Array = video[0].permute(1, 2, 3, 0).numpy()
    return values


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


def _video(frames: Array, dtype: torch.dtype) -> torch.Tensor:
    """[T, H, W, 3] as the bundle takes it to [1, 3, T, H, W] in [-1, 1]."""
    video = torch.from_numpy(frames)
    video = video.to(dtype) / 127.5 - 1 if video.dtype == torch.uint8 else video.to(dtype)
    return video.permute(3, 0, 1, 2).unsqueeze(0).contiguous()
