"""Narrow models for the tests of the exporter: bundles, and lowered modules, call by call.

The modules are streamed without ONNX: any variant, form and chunk plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from narrow import narrow
from torch import Tensor

from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.lowering.facts import facts_of
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.step import StepDecoder, StepEncoder, StepOptions
from vidtok_edge.lowering.timeline import CausalTimeline
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.variants import EMBEDDED, VARIANTS
from vidtok_edge.vidtok_ref import VidTok

LIMIT = 2e-5
"""Max abs difference of float32 outputs (design, "Numbers that must hold")."""
BOUNDARY = 1e-4
"""A token may differ where the reference lies this close to a boundary between two levels."""

PUBLISHED = [name for name in VARIANTS if name != EMBEDDED.name]
CAUSAL = [name for name in PUBLISHED if VARIANTS[name].causal]
NONCAUSAL = [name for name in PUBLISHED if not VARIANTS[name].causal]

Step = StepEncoder | StepDecoder


@dataclass(frozen=True, slots=True)
class Lowered:
    """A narrow model and its two steps, with float frames."""

    model: VidTok
    encoder: StepEncoder
    decoder: StepDecoder

    @property
    def framing(self) -> Framing:
        """The frame arithmetic of the model."""
        return Framing.of(facts_of(self.model.variant))


@cache
def lowered(name: str, form: FormName = "conv2d", *, ch: int = 16, streams: int = 1) -> Lowered:
    """Both steps of a narrow variant. They take any chunk and frame size, whatever their options.

    Shared between tests: do not change it.
    """
    model = narrow(name, ch)
    chunk = StepOptions.chunk_for(model.variant)
    options = StepOptions(16, 16, streams=streams, chunk=chunk, form=form, io="float")
    return Lowered(model, StepEncoder(model, options), StepDecoder(model, options))


@dataclass(frozen=True)
class NarrowBundle:
    """What to export: a variant at a width, and how its graphs are lowered."""

    name: str
    options: StepOptions
    ch: int = 32

    @property
    def model(self) -> VidTok:
        """The reference with the bundle's weights."""
        return narrow(self.name, self.ch)

    def __str__(self) -> str:
        o = self.options
        return f"{self.name}-{o.form}-{o.height}x{o.width}-B{o.streams}-N{o.chunk}"


class Exports:
    """Bundles of narrow models, each written once (about 20 s of CPU)."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._folders: dict[NarrowBundle, Path] = {}
        self._factory = factory

    def __call__(self, what: NarrowBundle) -> Bundle:
        if what not in self._folders:
            folder = self._factory.mktemp("bundle")
            write_graphs(what.model, what.options, folder)
            self._folders[what] = folder
        return Bundle.load(self._folders[what])


TWO_LATENTS = "vidtok_fsq_causal_488_32768_v1_1"
"""The golden variant whose graphs take two latents a call: the last call is half a chunk."""


def golden_bundle(name: str, form: FormName = "conv2d") -> NarrowBundle:
    """The variant as the golden numbers have it: frames of 32x48 in float, most often one latent a
    call."""
    chunk = 2 if name == TWO_LATENTS else StepOptions.chunk_for(VARIANTS[name])
    return NarrowBundle(name, StepOptions(32, 48, chunk=chunk, form=form, io="float"))


def on_one_worker(bundles: Sequence[NarrowBundle]) -> list[ParameterSet]:
    """Test parameters that keep the tests of one bundle together, so that it is exported once."""
    return [pytest.param(b, id=str(b), marks=pytest.mark.xdist_group(str(b))) for b in bundles]


def call(
    step: Step, data: Tensor, controls: Sequence[Tensor] = (), caches: list[Tensor] | None = None
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """One call: the outputs and the new caches. `caches` of None are zeros."""
    with torch.inference_mode():
        rest = [*controls, *(caches or [])]
        outputs, time = step.trace(data, rest, probe=caches is None)
    return outputs, time.caches_out if isinstance(time, CausalTimeline) else []


def flags(*values: bool) -> Tensor:
    """bool [B, 1]."""
    return torch.tensor(values).unsqueeze(1)


def frames_from_video(video: Tensor, framing: Framing) -> Tensor:
    """[B, 3, T, H, W] to what the encoder is fed, [B, T, H, W, 3], frame 0 lead_in times."""
    first = video[:, :, :1].repeat_interleave(framing.lead_in - 1, dim=2)
    return torch.cat([first, video], dim=2).permute(0, 2, 3, 4, 1)


def values_from_model(model: VidTok, video: Tensor) -> Tensor:
    """What the decoder takes for a clip: tokens [B, t, h, w] or mean [B, t, z, h, w]."""
    with torch.inference_mode():
        latents = model.encode(video)
    return latents.latent.transpose(1, 2) if latents.tokens is None else latents.tokens


def encode_in_calls(
    encoder: StepEncoder, frames: Tensor, plan: Sequence[int]
) -> tuple[Tensor | None, Tensor]:
    """Stream `frames` [B, f * sum(plan), H, W, 3] in calls of `plan` latents.

    Returns:
        tokens [B, t, h, w] or None, and the encoder's outputs [B, C, t, h, w].
    """
    f, variant = encoder.variant.time_factor, encoder.variant
    caches: list[Tensor] | None = None
    tokens, encoded, position = [], [], 0
    for number, n in enumerate(plan):
        controls = [flags(number == 0)] if variant.causal else []
        chunk = frames[:, position * f : (position + n) * f]
        outputs, caches = call(encoder, chunk, controls, caches)
        tokens.append(outputs[0])
        encoded.append(outputs[1] if variant.latent == "fsq" else torch.cat(outputs, dim=2))
        position += n
    all_tokens = torch.cat(tokens, dim=1) if variant.latent == "fsq" else None
    return all_tokens, torch.cat(encoded, dim=1).transpose(1, 2)


def decode_in_calls(
    decoder: StepDecoder, values: Tensor, plan: Sequence[int], framing: Framing
) -> Tensor:
    """Stream `values` [B, n, ...] in calls of `plan` latents; the video [B, 3, T, H, W].

    A plan of more than n latents is filled up with dummies, the first of them marked `end`.
    """
    count, total = values.shape[1], sum(plan)
    values = torch.cat(
        [values, torch.zeros_like(values[:, :1]).repeat_interleave(total - count, 1)], 1
    )
    end = (torch.arange(total) == count).unsqueeze(0)
    caches: list[Tensor] | None = None
    kept: list[Tensor] = []
    position = raw = 0
    for number, n in enumerate(plan):
        controls = [flags(number == 0)] if framing.causal else []
        if framing.delayed:
            controls.append(end[:, position : position + n])
        (pixels,), caches = call(decoder, values[:, position : position + n], controls, caches)
        for frame in pixels.unbind(1):
            if framing.frame_of_output(raw) is not None:
                kept.append(frame)
            raw += 1
        position += n
    return torch.stack(kept[: framing.first_frame(count)], dim=1).permute(0, 4, 1, 2, 3)


def distance(got: Tensor, want: Tensor) -> float:
    """Max abs difference of two tensors of one shape."""
    assert got.shape == want.shape
    return float((got - want).abs().max())
