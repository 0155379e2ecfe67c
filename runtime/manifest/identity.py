"""Whether what was written is of the tokenizer that is here."""

from __future__ import annotations

from collections.abc import Mapping

from vidtok_edge.runtime.manifest.manifest import Manifest

__all__ = ["differing", "identity"]


def identity(manifest: Manifest) -> dict[str, object]:
    """The facts that must be equal before latents are decoded; precision may differ.

    `window` is the latents that are decoded together: a causal tokenizer decodes one after another.
    """
    model = manifest.model
    return {
        "variant": model.variant,
        "weights_sha256": manifest.weights.sha256,
        "height": manifest.height,
        "width": manifest.width,
        "grid_height": manifest.grid[0],
        "grid_width": manifest.grid[1],
        "time_factor": model.time_factor,
        "causal": model.causal,
        "latent": model.latent,
        "levels": model.levels,
        "z_channels": model.z_channels,
        "window": 1 if model.causal else manifest.chunk,
    }


def differing(written: Mapping[str, object], here: Mapping[str, object]) -> list[str]:
    """The names of the facts in which they differ; what was not written is not compared."""
    return [name for name, value in written.items() if value != here[name]]
