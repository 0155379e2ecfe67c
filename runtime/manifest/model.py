"""The tokenizer that a bundle holds, and where its weights came from."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

__all__ = ["ModelFacts", "WeightsFacts"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The tokenizer, as far as a runtime needs to know it."""

    variant: str
    version: Literal["1.0", "1.1"]
    causal: bool
    latent: Literal["fsq", "kl"]
    levels: tuple[int, ...]
    z_channels: int
    time_factor: int
    space_factor: int

    @property
    def codebook_size(self) -> int:
        """Number of different tokens; 0 for KL."""
        return prod(self.levels) if self.levels else 0


@dataclass(frozen=True, slots=True)
class WeightsFacts:
    """Where the weights came from."""

    source: Literal["embedded", "random", "hub", "file"]
    location: str
    sha256: str
    """Of the tensors in key order: the same for the same weights, whatever file they came in."""
