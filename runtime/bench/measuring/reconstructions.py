"""A frame and what each candidate makes of it, as pictures for the document."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, VidTokEdgeError
from vidtok_edge.runtime.bench.measuring.candidate import OPEN_BUNDLE, Candidate
from vidtok_edge.runtime.bench.measuring.frames import COUNT, clip_frames, for_graph, moving_frames
from vidtok_edge.runtime.bench.pictures import Picture, Pictures
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.clips.quality import psnr

__all__ = ["pictures_of"]

LATENTS = 4
"""Of the short stream whose last frame is shown."""


def pictures_of(candidates: Sequence[Candidate], clip: str | None) -> Pictures | None:
    """The last frame of a short stream, and what each candidate of the runtime's own makes of it.

    Those in PyTorch are left out: they compute what float32 does. None where no other is left.
    What a picture lacks is said in the result: figures are worth a document without.

    Args:
        clip: whose start is streamed; the synthetic picture where None.
    """
    ours = [candidate for candidate in candidates if candidate.opener == OPEN_BUNDLE]
    if not ours:
        return None
    shown = list[Picture]()
    before: NDArray[np.uint8] | None = None
    try:
        for candidate in ours:
            original, decoded = _reconstructed(candidate, clip)
            if before is None or not np.array_equal(before, original):
                shown.append(_picture("original", original, None))
            before = original
            shown.append(_picture(str(candidate), decoded, psnr(original, decoded)))
    except VidTokEdgeError as error:
        return Pictures(shown=(), missing=str(error))
    return Pictures(shown=tuple(shown), missing="")


def _picture(name: str, pixels: NDArray[np.uint8], psnr_db: float | None) -> Picture:
    """Of uint8 [H, W, 3]; raises MissingDependency without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependency("pillow", "video", "Showing reconstructions") from None
    memory = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(memory, "PNG")
    return Picture(
        name=name,
        psnr_db=None if psnr_db is None or math.isinf(psnr_db) else psnr_db,
        height=pixels.shape[0],
        width=pixels.shape[1],
        png=base64.b64encode(memory.getvalue()).decode("ascii"),
    )


def _reconstructed(
    candidate: Candidate, clip: str | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A frame and its reconstruction, uint8 [H, W, 3] each."""
    bundle = Bundle.load(candidate.bundle)
    manifest = bundle.manifest
    count = max(LATENTS, manifest.chunk) * manifest.model.time_factor + 1
    size = manifest.height, manifest.width
    if clip is None:
        originals = moving_frames(COUNT, *size)[:count]
    else:
        originals = clip_frames(Path(clip), count, *size)
    pictures = _streamed(bundle, candidate, for_graph(manifest, originals))
    last = len(pictures) - 1
    return originals[last], pictures[last]


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
