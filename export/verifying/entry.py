"""How near the first frames are where decoding begins in the middle of a stream."""

from __future__ import annotations

import numpy as np

from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.lossy import as_bytes
from vidtok_edge.export.verifying.step_pair import StepPair, poison
from vidtok_edge.export.verifying.whole_clip import Array
from vidtok_edge.runtime import StreamDecoder
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.manifest.manifest import EntryQuality, Manifest
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.runtime.streaming.gap_decoder import GapDecoder

__all__ = ["compare_entries", "entry_qualities"]

LEADS = (1, 2, 4, 8)


def entry_qualities(
    manifest: Manifest, pair: StepPair, values: Array, frames: Array
) -> tuple[EntryQuality, ...]:
    """Enter the last whole latent of a stream, so many latents before: what its frames are worth.

    Args:
        manifest: of a causal model, in chunks of one latent; there is nothing to enter otherwise.
        pair: whose decoder decodes.
        values: latents of the stream, tokens int32 [t, h, w] or float32 [t, z, h, w].
        frames: uint8 [T, H, W, 3], what decoding all of them gave.
    """
    framing = Framing.of(manifest.model)
    if not framing.causal or manifest.chunk != 1:
        return ()
    last = len(values) - 1
    while last and framing.share(last).stop > len(frames):
        last -= 1
    wanted = frames[framing.share(last).start : framing.share(last).stop]
    return tuple(
        EntryQuality(lead=lead, psnr_db=round(min(99.0, psnr(wanted, found)), 2))
        for lead in LEADS
        if lead < last
        for found in [_entered(manifest, pair, values, last - lead, last)]
    )


def compare_entries(entries: tuple[EntryQuality, ...]) -> list[Comparison]:
    """Rows of the report; nothing is asked of them."""
    return [
        Comparison(
            name=f"decode from {entry.lead} latents before",
            metric="PSNR against decoding everything, dB",
            value=entry.psnr_db,
            limit=None,
            note="the first frames, robot",
        )
        for entry in entries
    ]


def _entered(manifest: Manifest, pair: StepPair, values: Array, first: int, last: int) -> Array:
    """The frames of latent `last`, decoded from `first` on: uint8 [T, H, W, 3]."""
    poison(pair.decoder)
    gaps = GapDecoder(StreamDecoder(manifest, pair.decoder))
    framing, found = Framing.of(manifest.model), dict[int, Array]()
    for index in range(first, len(values)):
        for picture in gaps.push(0, 0, index, values[index], list(framing.share(index))):
            found[picture.time_ns] = picture.pixels
    for picture in gaps.finish(0):
        found[picture.time_ns] = picture.pixels
    return np.stack([as_bytes(found[number]) for number in framing.share(last)])
