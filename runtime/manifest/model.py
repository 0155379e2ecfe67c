"""The tokenizer that latents belong to, and where its weights came from."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, prod
from typing import Literal

__all__ = ["CustomFacts", "ModelFacts", "WeightsFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The one description of a tokenizer; each file format stores what it has fields for.

    What follows from these facts is worked out here and nowhere else in the runtime.
    """

    variant: str
    version: Literal["1.0", "1.1"] | None
    """None where nothing says: a recording does not."""
    causal: bool
    latent: Literal["fsq", "kl"]
    levels: tuple[int, ...]
    z_channels: int
    time_factor: int
    space_factor: int

    @property
    def levels_fit(self) -> bool:
        """Whether there are levels of two values or more for FSQ, and none for KL."""
        return (self.latent == "fsq") == bool(self.levels) and all(n >= 2 for n in self.levels)

    @property
    def codebook_size(self) -> int:
        """Number of different tokens; 0 for KL."""
        return prod(self.levels) if self.levels else 0

    @property
    def bits_per_position(self) -> float:
        """Information at one position of the grid: log2 of the codebook, or 16 per KL value."""
        return log2(self.codebook_size) if self.levels else 16.0 * self.z_channels

    @property
    def delayed(self) -> bool:
        """True where the streaming decoder is f - 1 frames late and needs an `end` call."""
        return self.causal and self.version == "1.1"

    def shape(self, grid: tuple[int, int]) -> tuple[int, ...]:
        """Of one latent with the grid (h, w): (h, w) tokens, or (z, h, w) values."""
        return grid if self.latent == "fsq" else (self.z_channels, *grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomFacts:
    """The rest of the configuration of a model that is not published; fields as in `Variant`.

    With `ModelFacts` it is the whole: enough to make the reference again.
    """

    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    spatial_down: tuple[int, ...]
    temporal_down: tuple[int, ...]
    spatial_up: tuple[int, ...]
    temporal_up: tuple[int, ...]

    @property
    def plausible(self) -> bool:
        """Whether a model could have these numbers; a manifest is not trusted."""
        levels = range(len(self.ch_mult))
        sets = (self.spatial_down, self.temporal_down, self.spatial_up, self.temporal_up)
        return (
            all(1 <= n <= 4096 for n in (self.ch, *self.ch_mult))
            and 1 <= self.num_res_blocks <= 64
            and 1 <= len(self.ch_mult) <= 16
            and all(len(set(s)) == len(s) and set(s) <= set(levels) for s in sets)
        )


@dataclass(frozen=True, slots=True)
class WeightsFacts:
    """Where the weights came from."""

    source: Literal["embedded", "random", "hub", "file"]
    location: str
    sha256: str
    """Of the tensors in key order: the same for the same weights, whatever file they came in."""
