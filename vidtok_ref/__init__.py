"""The VidTok models in PyTorch: offline, readable, with the official state-dict keys."""

from vidtok_edge.variants import EMBEDDED, SHORT_NAMES, VARIANTS, Variant, variant_by_name
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
