"""What all latents of a dataset have in common: its tokenizer, rate and data channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.manifest.identity import differing
from vidtok_edge.runtime.recording.exports.values import values_dtype
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

__all__ = ["JITTER", "SetFacts"]

JITTER = 1.03
"""Rates are measured: those that differ by no more are one."""
_GRID = {"grid_height", "grid_width", "height", "width"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFacts:
    """Whose latents they are, how many there are in a second, and what goes along."""

    tokenizer: Tokenizer
    latents_per_s: float
    channels: Mapping[str, int]
    """The data channels by name, in the order of names, and how many numbers each has."""

    @property
    def kind(self) -> str:
        """What exports call their latents."""
        return "tokens" if self.tokenizer.latent == "fsq" else "latent"

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """In which latents are held: uint16 or int32 of tokens, float32 of KL latents."""
        return values_dtype(self.tokenizer, continuous=np.float32)

    def require_same(self, others: SetFacts, here: object, there: object) -> None:
        """Raise DatasetError, which names `here` and `there`, unless both can be one dataset."""
        differ = differing(self.tokenizer.compared, others.tokenizer.compared)
        if differ:
            what = "another grid" if _GRID & {*differ} else "another tokenizer"
            raise DatasetError(
                f"{here} is of {what} than {there}: {self.tokenizer}, and {others.tokenizer}; they "
                f"differ in {', '.join(differ)}. A dataset has one: keep them apart, or "
                "choose one camera (source)."
            )
        low, high = sorted((self.latents_per_s, others.latents_per_s))
        if high > JITTER * low:
            raise DatasetError(
                f"{here} has {self.latents_per_s:.3f} latents per second, and {there} "
                f"{others.latents_per_s:.3f}: a dataset has one rate. Keep them "
                "apart, or choose one camera (source)."
            )
        if dict(self.channels) != dict(others.channels):
            raise DatasetError(
                f"{here} has the data channels {_shown(self.channels)}, and {there} "
                f"{_shown(others.channels)}: a dataset has one shape. Name those that "
                "both have (channels)."
            )


def _shown(channels: Mapping[str, int]) -> str:
    return ", ".join(f"{name} [{size}]" for name, size in channels.items()) or "none"
