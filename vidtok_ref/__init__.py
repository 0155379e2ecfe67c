"""The VidTok models in PyTorch: offline, readable, with the official state-dict keys."""

from vidtok_edge.vidtok_ref.model import VidTok
from vidtok_edge.vidtok_ref.regularizer import Latents
from vidtok_edge.vidtok_ref.variant import (
    EMBEDDED,
    SHORT_NAMES,
    VARIANTS,
    Variant,
    variant_by_name,
)

__all__ = [
    "EMBEDDED",
    "SHORT_NAMES",
    "VARIANTS",
    "Latents",
    "Variant",
    "VidTok",
    "variant_by_name",
]
