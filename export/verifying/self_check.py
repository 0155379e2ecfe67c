"""Whether weights and configuration belong together: the shipped clips through the model.

A verification compares graphs with the model they were made from, so it cannot see that the model
itself is not the one that was trained: v1.0 weights load as v1.1. A reconstruction shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.lossy import as_bytes
from vidtok_edge.export.verifying.shipped_clips import shipped_frames
from vidtok_edge.export.verifying.whole_clip import decode, encode, frames_first
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.variants import Variant, twins_of
from vidtok_edge.vidtok_ref import VidTok
from vidtok_edge.vidtok_ref.weights import model_from_state

__all__ = ["CLIPS", "SelfCheck", "self_check"]

CLIPS = ("clip_robot.mp4", "clip_film.mp4")
SIZE = 96
"""Pixels, height and width, at least: the check costs the same whatever the size of the export."""
BETTER_DB = 0.1
"""A twin is believed where it is better by as much on every clip.

The shipped tokenizer is trained as v1.0; run as v1.1 it loses 0.15 dB and 0.25 dB on the two clips.
"""
GOOD_DB = 18.0
"""Below it weights are probably not trained ones, or are another configuration's; chosen, not
measured: the shipped tokenizer is at 22 to 24 dB here."""


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """PSNR of the shipped clips through weights, as each variant that they fit."""

    asked: str
    """The variant that was asked for."""
    psnr_db: tuple[tuple[str, tuple[float, ...]], ...]
    """By variant, the one asked for first; one figure for each of `CLIPS`."""

    @property
    def best(self) -> str:
        """The variant to take: the one asked for, unless another is better on every clip."""
        best, figures = self.psnr_db[0]
        for name, other in self.psnr_db[1:]:
            better = all(b >= a + BETTER_DB for a, b in zip(figures, other, strict=True))
            if better and min(other) >= GOOD_DB:
                best, figures = name, other
        return best

    @property
    def warning(self) -> str:
        """What the user should know, as sentences; empty where nothing is odd."""
        texts = {
            name: " and ".join(f"{db:.2f}" for db in figures) + " dB"
            for name, figures in self.psnr_db
        }
        if self.best != self.asked:
            return (
                f"The weights are {self.best} rather than {self.asked}: the shipped clips come "
                f"back at {texts[self.best]}, as {self.asked} at {texts[self.asked]}. "
                f"The bundle was written as {self.best}; ask for it with --variant {self.best}."
            )
        if min(dict(self.psnr_db)[self.asked]) < GOOD_DB:
            return (
                f"The shipped clips come back at {texts[self.asked]}: the weights are not trained, "
                f"or their configuration is not {self.asked}."
            )
        return ""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One for each variant and clip, for the report; without a limit."""
        return tuple(
            Comparison(name=f"{clip} through {name}", metric="PSNR, dB", value=db, limit=None)
            for name, figures in self.psnr_db
            for clip, db in zip(CLIPS, figures, strict=True)
        )


def self_check(model: VidTok, try_twins: bool) -> tuple[VidTok, SelfCheck]:
    """The model to take of `model` and its twins, and what each makes of the shipped clips.

    Args:
        model: as asked for, with trained weights.
        try_twins: also try the published variants that these weights fit.
    """
    models = {model.variant.name: model}
    for twin in twins_of(model.variant) if try_twins else ():
        models[twin.name] = model_from_state(twin, model.state_dict())  # shares the tensors
    clips = [_frames(clip, model.variant) for clip in CLIPS]
    qualities = tuple(
        (name, tuple(_quality_db(candidate, clip) for clip in clips))
        for name, candidate in models.items()
    )
    check = SelfCheck(model.variant.name, qualities)
    return models[check.best], check


def _quality_db(model: VidTok, pixels: NDArray[np.uint8]) -> float:
    """PSNR of `pixels` [T, H, W, 3], reconstructed; mean over the frames, dB."""
    latents = encode(model, [pixels], torch.float32)
    return psnr(pixels, as_bytes(frames_first(decode(model, latents, [pixels]))))


def _frames(clip: str, variant: Variant) -> NDArray[np.uint8]:
    """[T, H, W, 3], a window of `variant` from the beginning of a shipped clip."""
    side = -(-SIZE // variant.space_factor) * variant.space_factor
    return shipped_frames(clip, (side, side), variant.window)
