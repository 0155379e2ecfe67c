"""The tensors that a step graph has for the host: what streams write and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidtok_edge.runtime.manifest.graphs import DType, Kind, TensorSpec
from vidtok_edge.runtime.manifest.model import ModelFacts

__all__ = ["Interface", "host_interface"]


@dataclass(frozen=True, slots=True)
class Interface:
    """A step graph from outside, in the order of its forward."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    cache_layers: tuple[str, ...] = ()
    """As `GraphSpec.cache_layers`."""


def host_interface(
    model: ModelFacts,
    kind: Kind,
    *,
    height: int,
    width: int,
    streams: int,
    chunk: int,
    io: Literal["uint8", "float"],
) -> Interface:
    """All inputs and outputs of a step graph but its caches (docs/streaming.md, section 3.1).

    Args:
        model: the tokenizer.
        kind: which of its two graphs.
        height, width: pixels of a frame.
        streams: B, the slots.
        chunk: N, latents per call.
        io: whether frames are bytes or floats.
    """
    grid = (height // model.space_factor, width // model.space_factor)
    pixels: DType = "uint8" if io == "uint8" else "float32"
    frames = TensorSpec("frames", pixels, (streams, chunk * model.time_factor, height, width, 3))
    tokens = TensorSpec("tokens", "int32", (streams, chunk, *grid))
    mean, logvar, latent = (
        TensorSpec(name, "float32", (streams, chunk, model.z_channels, *grid))
        for name in ("mean", "logvar", "latent")
    )
    fsq = model.latent == "fsq"
    controls = _controls(model, kind, streams, chunk)
    if kind == "encoder":
        return Interface((frames, *controls), (tokens, latent) if fsq else (mean, logvar))
    return Interface((tokens if fsq else latent, *controls), (frames,))


def _controls(model: ModelFacts, kind: Kind, streams: int, chunk: int) -> tuple[TensorSpec, ...]:
    if not model.causal:
        return ()
    controls = [TensorSpec("start", "bool", (streams, 1))]
    if kind == "decoder" and model.delayed:
        controls.append(TensorSpec("end", "bool", (streams, chunk)))
    if streams > 1:
        controls.append(TensorSpec("ready", "bool", (streams, 1)))
    return tuple(controls)
