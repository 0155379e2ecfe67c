"""Whether what was written is of the tokenizer that is here."""

from __future__ import annotations

from collections.abc import Mapping

from vidtok_edge.runtime.manifest.manifest import Manifest

__all__ = ["EMBEDDED_SINCE", "differing", "identity", "weights_named"]

EMBEDDED_SINCE: Mapping[str, str] = {
    "9672334164f0fea703be38e1997e1adcb2fa5fde7545601d877b31149cac077e": "0.1.0",
    "e423ecfafb5af1199a18feee66db271951ccf7d17425420c86cca97e16aec62f": "0.2.0",
}
"""SHA-256 of the weights of the small tokenizer that ships, oldest first, and since which version
they ship."""


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


def weights_named(sha256: str) -> str:
    """Weights as a message names them, with the versions in which they are the embedded default.

    >>> weights_named("f" * 64), weights_named("")
    ('ffffffffffff', 'unknown')
    """
    short = sha256[:12] or "unknown"
    if sha256 not in EMBEDDED_SINCE:
        return short
    later = list(EMBEDDED_SINCE)[list(EMBEDDED_SINCE).index(sha256) + 1 :]
    changed = f", which changed with {EMBEDDED_SINCE[later[0]]}" if later else ""
    return f"{short} (the embedded default since {EMBEDDED_SINCE[sha256]}{changed})"


def differing(written: Mapping[str, object], here: Mapping[str, object]) -> list[str]:
    """The names of the facts in which they differ; what was not written is not compared."""
    return [name for name, value in written.items() if value != here[name]]
