"""A frame and what each candidate makes of it, as pictures for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.bench.measuring.candidate import OPEN_BUNDLE, Candidate
from vidtok_edge.runtime.bench.measuring.frames import clip_frames, for_graph, moving_frames
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.clips.quality import psnr

__all__ = ["Reconstruction", "png_of", "reconstructions_of"]

LATENTS = 4
"""Of the short stream whose last frame is shown."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """One pair of pictures, uint8 [H, W, 3]."""

    name: str
    original: NDArray[np.uint8]
    decoded: NDArray[np.uint8]

    @property
    def psnr_db(self) -> float:
        """Between the two."""
        return psnr(self.original, self.decoded)


def png_of(pixels: NDArray[np.uint8]) -> str:
    """The picture as a `data:` address.

    Raises MissingDependency without Pillow.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependency("pillow", "video", "Showing reconstructions") from None
    memory = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(memory, "PNG")
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode("ascii")


def reconstructions_of(candidates: Sequence[Candidate], clip: str | None) -> list[Reconstruction]:
    """The last frame of a short stream through each candidate of the runtime's own.

    Args:
        candidates: those in PyTorch are left out: they compute what float32 does.
        clip: whose start is streamed; the synthetic picture where None.
    """
    found = []
    for candidate in candidates:
        if candidate.opener != OPEN_BUNDLE:
            continue
        bundle = Bundle.load(candidate.bundle)
        manifest = bundle.manifest
        count = max(LATENTS, manifest.chunk) * manifest.model.time_factor + 1
        size = manifest.height, manifest.width
        if clip is None:
            originals = moving_frames(48, *size)[:count]
        else:
            originals = clip_frames(Path(clip), count, *size)
        pictures = _streamed(bundle, candidate, for_graph(manifest, originals))
        last = len(pictures) - 1
        found.append(Reconstruction(str(candidate), originals[last], pictures[last]))
    return found


def _streamed(
    bundle: Bundle, candidate: Candidate, frames: Sequence[NDArray[np.uint8]]
) -> list[NDArray[np.uint8]]:
    """The frames through encoder and decoder, in slot 0."""
    encoder, decoder = candidate.open(bundle, decode=True)
    assert decoder is not None
    with encoder, decoder:
        latents = [one for frame in frames for one in encoder.push(frame)] + encoder.finish()
        pictures = [picture for one in latents for picture in decoder.push(one)]
        pictures += decoder.finish()
    pixels = [picture.pixels for picture in pictures]
    if bundle.manifest.io == "float":
        pixels = [np.clip((p + 1) * 127.5, 0, 255).round().astype(np.uint8) for p in pixels]
    return pixels
