"""The golden stream of a tiny bundle, made by its own graphs; needs neither torch nor an export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.proving.golden import SCHEMA, GoldenFacts, GoldenStream, golden_frames
from vidtok_edge.runtime.proving.running import decoded, encoded
from vidtok_edge.runtime.proving.scenes import RECIPE

__all__ = ["write_tiny_golden"]

LATENTS, DECODED = 6, 8


def write_tiny_golden(folder: Path) -> GoldenStream:
    """Write it into the tiny bundle in `folder`; every token lies far from a boundary."""
    bundle = Bundle.load(folder)
    manifest = bundle.manifest
    facts = GoldenFacts(
        schema=SCHEMA,
        toolkit="0",
        recipe=RECIPE,
        reference="the tiny graphs",
        variant=manifest.model.variant,
        weights_sha256=manifest.weights.sha256,
        height=manifest.height,
        width=manifest.width,
        io=manifest.io,
        frames=19,
        cut_frame=15,
        latents=LATENTS,
        cut_latent=4,
        decoder_latents=DECODED,
        encoder_reach=None,
        decoder_reach=None,
        frames_sha256="",
        arrays_sha256="",
        pictures_sha256=(),
        given=(),
    )
    frames = list(golden_frames(facts))
    with bundle.step("encoder", "cpu") as step:
        latents = np.stack(encoded(manifest, step, frames, alone=True).items)
    golden = GoldenStream(
        facts=facts,
        latents=latents,
        margin=np.full(latents.shape, 255, np.uint8),
        samples=np.zeros((0, 0, 3), np.uint8),
    )
    with bundle.step("decoder", "cpu") as step:
        pictures = decoded(manifest, step, golden.decoder_values(), alone=True)
    golden = replace(golden, samples=np.stack(pictures.items))
    facts = replace(
        facts,
        frames_sha256=sha256_of_parts(frame.tobytes() for frame in frames),
        arrays_sha256=sha256_of_parts([golden.packed()]),
        pictures_sha256=tuple(pictures.digests[0]),
    )
    golden = replace(golden, facts=facts)
    golden.save(folder)
    return golden
