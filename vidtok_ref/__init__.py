"""The VidTok models in PyTorch: offline, readable, with the official state-dict keys.

The descriptions of the variants need no torch, and importing them does not bring it in.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vidtok_edge.vidtok_ref.variant import (
    EMBEDDED,
    SHORT_NAMES,
    VARIANTS,
    Variant,
    variant_by_name,
)

if TYPE_CHECKING:
    from vidtok_edge.vidtok_ref.checkpoint import LoadedCheckpoint, load_checkpoint
    from vidtok_edge.vidtok_ref.model import VidTok
    from vidtok_edge.vidtok_ref.regularizer import Latents
    from vidtok_edge.vidtok_ref.weights import (
        WeightsOrigin,
        embedded_file,
        load_weights,
        state_sha256,
    )

__all__ = [
    "EMBEDDED",
    "SHORT_NAMES",
    "VARIANTS",
    "Latents",
    "LoadedCheckpoint",
    "Variant",
    "VidTok",
    "WeightsOrigin",
    "embedded_file",
    "load_checkpoint",
    "load_weights",
    "state_sha256",
    "variant_by_name",
]

_MODULES = {
    "Latents": "regularizer",
    "LoadedCheckpoint": "checkpoint",
    "VidTok": "model",
    "WeightsOrigin": "weights",
    "embedded_file": "weights",
    "load_checkpoint": "checkpoint",
    "load_weights": "weights",
    "state_sha256": "weights",
}


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
