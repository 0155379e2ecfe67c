"""What all latents of a dataset have in common: its tokenizer, rate and data channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vidtok_edge.errors import DatasetError
from vidtok_edge.runtime.manifest.identity import differing
from vidtok_edge.runtime.recording.exports.values import values_dtype
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer

__all__ = ["JITTER", "Fields", "SetFacts", "require_same_fields"]

Fields = Mapping[str, tuple[str, ...]]
"""What the values of data channels are called, of those channels of which it is known."""

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
    fields: Fields = field(default_factory=dict)

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
        own = {name: fields for name, fields in self.fields.items() if name in self.channels}
        require_same_fields(own, others.fields, here, there)


def require_same_fields(own: Fields, others: Fields, here: object, there: object) -> None:
    """Raise DatasetError where the values of a channel are called otherwise here than there."""
    for name in own.keys() & others.keys():
        if own[name] != others[name]:
            raise DatasetError(
                f"The values of {name} are {', '.join(own[name]):.200} in {here}, and "
                f"{', '.join(others[name]):.200} in {there}: a column has one meaning. Keep them "
                "apart, or leave the channel out (channels)."
            )


def _shown(channels: Mapping[str, int]) -> str:
    return ", ".join(f"{name} [{size}]" for name, size in channels.items()) or "none"
