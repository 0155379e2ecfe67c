"""Latents to what the decoder takes, and back: FSQ and KL (docs/model.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from math import atanh

import torch
from torch import Tensor

from vidtok_edge.variants import Variant

__all__ = ["Latents", "codes_from_tokens", "fsq", "fsq_bound", "kl"]


@dataclass(frozen=True, slots=True)
class Latents:
    """What the encoder makes of a clip."""

    encoded: Tensor
    """[B, C, t, h, w], the encoder's output before the regulariser."""
    latent: Tensor
    """[B, z, t, h, w], what the decoder takes: FSQ codes in [-1, 1], or the KL mean or sample."""
    tokens: Tensor | None
    """int32 [B, t, h, w] for FSQ, else None."""
    logvar: Tensor | None
    """[B, z, t, h, w] in [-30, 20] for KL, else None."""


def _per_channel(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, 1, 1, 1)


def fsq_bound(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """`z` [B, z, t, h, w] squashed so that rounding it gives the level; float32 throughout.

    docs/model.md, section 4.1.
    """
    half = [(n - 1) * (1 + 1e-3) / 2 for n in levels]
    offset = [0.5 if n % 2 == 0 else 0.0 for n in levels]
    shift = [atanh(o / h) for o, h in zip(offset, half, strict=True)]
    squashed = torch.tanh(z.float() + _per_channel(shift, z))
    return squashed * _per_channel(half, z) - _per_channel(offset, z)


def fsq(z: Tensor, levels: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """`z` [B, z, t, h, w] to codes [B, z, t, h, w] in [-1, 1] and tokens int32 [B, t, h, w].

    docs/model.md, section 4.1.
    """
    q = torch.round(fsq_bound(z, levels))  # half to even
    half = _per_channel([float(n // 2) for n in levels], z)
    basis = torch.tensor([1, *levels[:-1]], dtype=torch.int32, device=z.device).cumprod(0)
    digits = (q + half).to(torch.int32)
    tokens = (digits * basis.view(1, -1, 1, 1, 1)).sum(dim=1).to(torch.int32)
    return q / half, tokens


def codes_from_tokens(tokens: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Tokens int32 [B, t, h, w] to codes [B, z, t, h, w] in [-1, 1].

    docs/model.md, section 4.1.
    """
    codes, rest = [], tokens
    for n in levels:
        codes.append((rest % n - n // 2).to(torch.float32) / (n // 2))
        rest = torch.div(rest, n, rounding_mode="floor")
    return torch.stack(codes, dim=1)


def kl(encoded: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """`encoded` [B, 2z, t, h, w] to the mean, or a sample, and logvar, [B, z, t, h, w].

    docs/model.md, section 4.2.
    """
    mean, logvar = encoded.chunk(2, dim=1)
    logvar = logvar.clamp(-30.0, 20.0)
    if generator is None:
        return mean, logvar
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=generator.device)
    return mean + torch.exp(0.5 * logvar) * noise.to(mean.device), logvar


def regularize(encoded: Tensor, variant: Variant, generator: torch.Generator | None) -> Latents:
    """The encoder's output as `Latents`."""
    if variant.latent == "fsq":
        codes, tokens = fsq(encoded, variant.levels)
        return Latents(encoded, codes.to(encoded.dtype), tokens, None)
    latent, logvar = kl(encoded, generator)
    return Latents(encoded, latent, None, logvar)
