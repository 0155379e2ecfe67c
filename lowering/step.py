"""The step modules that become graphs: bytes in, bytes out, caches explicit.

A step's forward takes and returns flat tuples of tensors in the order of its `Interface`
(docs/streaming.md, section 3).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidtok_edge.errors import UsageError
from vidtok_edge.lowering.forms import FORMS, FormName
from vidtok_edge.lowering.lowering import Edges, LoweredDecoder, LoweredEncoder
from vidtok_edge.lowering.numerics import FP32, Numerics
from vidtok_edge.lowering.quantizer import codes_from_tokens, quantizer_rows, tokens_from_latents
from vidtok_edge.lowering.timeline import CausalTimeline, Timeline, WindowTimeline
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["Kind", "StepDecoder", "StepEncoder", "StepOptions", "lower"]


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What is fixed when a step is lowered.

    Attributes:
        height, width: pixels of a frame.
        streams: B, the slots of the batch.
        chunk: N, latents per call.
        form: the layout of the computation.
        io: `uint8` frames, or `float` frames in [-1, 1], neither clamped nor rounded.
    """

    height: int = 256
    width: int = 256
    _: KW_ONLY
    streams: int = 1
    chunk: int = 1
    form: FormName = "channels_last"
    io: Literal["uint8", "float"] = "uint8"

    @classmethod
    def chunk_for(cls, variant: Variant) -> int:
        """Latents per call where nobody says: 1, or the whole window of a non-causal variant."""
        return 1 if variant.causal else variant.window // variant.time_factor

    def check(self, variant: Variant) -> None:
        """Raise `UsageError` where `variant` cannot be lowered so."""
        variant.check()
        variant.check_size(self.height, self.width)
        window = self.chunk_for(variant)
        if not variant.causal and self.chunk != window:
            raise UsageError(
                f"{variant.name} does not stream: it works on windows of {variant.window} frames, "
                f"so --chunk can only be {window}, got {self.chunk}. Leave it out."
            )
        for name, value in (("streams", self.streams), ("chunk", self.chunk)):
            if value < 1:
                raise UsageError(f"--{name} must be 1 or more, got {value}.")


class _Step(nn.Module):
    """What encoder and decoder steps share: options, arithmetic, control inputs, caches.

    Attributes:
        causal_timeline: what makes the timeline of each call, where the variant is causal.
    """

    causal_timeline: type[CausalTimeline] = CausalTimeline

    def __init__(self, variant: Variant, options: StepOptions, numerics: Numerics) -> None:
        super().__init__()
        self.variant, self.options, self.numerics = variant, options, numerics
        self.form = FORMS[options.form]

    def _controls(
        self, tensors: list[Tensor]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Take `start`, `end`, `ready` off the front of `tensors`, those that the step has."""
        if not self.variant.causal:
            return None, None, None
        start = tensors.pop(0)
        end = tensors.pop(0) if self.has_end else None
        ready = tensors.pop(0) if self.options.streams > 1 else None
        return start, end, ready

    @property
    def has_end(self) -> bool:
        """True where an extra call releases the last frames of a stream."""
        return False

    def hold_constants(self) -> None:
        """Keep constants with the weights: made in a call, each is a copy from the host's pageable
        memory, which waits, and which no CUDA graph can hold. Graphs are written without."""

    def _timeline(
        self,
        start: Tensor | None,
        ready: Tensor | None,
        caches: list[Tensor] | None,
        batch: int,
    ) -> Timeline:
        if start is None:
            return WindowTimeline(self.form, batch)
        first = self.variant.repeat_first
        return self.causal_timeline(self.form, caches, start, ready, first)


def _caches_out(time: Timeline) -> tuple[Tensor, ...]:
    return tuple(time.caches_out) if isinstance(time, CausalTimeline) else ()


class StepEncoder(_Step):
    """`frames, start[, ready], caches` to `tokens, latent` or `mean, logvar`, and new caches."""

    def __init__(self, model: VidTok, options: StepOptions, numerics: Numerics = FP32) -> None:
        super().__init__(model.variant, options, numerics)
        self.encoder = LoweredEncoder(self.form, model.encoder)
        numerics.apply(self, pixels=options.io == "uint8")
        self.quantizer: Tensor | None
        self.register_buffer("quantizer", None, persistent=False)

    def hold_constants(self) -> None:
        if self.variant.latent == "fsq":
            rows = quantizer_rows(self.variant.levels)
            self.quantizer = torch.tensor(rows, dtype=torch.float32)

    def forward(self, frames: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        outputs, time = self.trace(frames, list(rest))
        return outputs + _caches_out(time)

    def trace(
        self, frames: Tensor, rest: list[Tensor], probe: bool = False
    ) -> tuple[tuple[Tensor, ...], Timeline]:
        """The outputs but the caches, and the timeline that has those; `probe`: no caches given."""
        start, _, ready = self._controls(rest)
        batch = frames.shape[0]
        time = self._timeline(start, ready, None if probe else rest, batch)
        x = frames if self.options.io == "float" else frames.to(torch.float32) / 127.5 - 1.0
        x = x.permute(0, 1, 4, 2, 3).to(self.numerics.dtype)
        x = self.encoder(self.form.from_btchw(x), time)
        encoded = self.form.to_btchw(x, batch).to(torch.float32)  # [B, t, C, h, w]
        if self.variant.latent == "fsq":
            tokens = tokens_from_latents(encoded, self.variant.levels, self.quantizer)
            return (tokens, encoded), time
        mean, logvar = encoded.chunk(2, dim=2)
        return (mean, logvar.clamp(-30.0, 20.0)), time


class StepDecoder(_Step):
    """`tokens` or `latent`, `start[, end][, ready], caches` to `frames` and new caches."""

    def __init__(self, model: VidTok, options: StepOptions, numerics: Numerics = FP32) -> None:
        super().__init__(model.variant, options, numerics)
        self.decoder = LoweredDecoder(self.form, model.decoder)
        numerics.apply(self, pixels=False)

    @property
    def has_end(self) -> bool:
        return self.variant.delayed

    def forward(self, latents: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        outputs, time = self.trace(latents, list(rest))
        return outputs + _caches_out(time)

    def trace(
        self, latents: Tensor, rest: list[Tensor], probe: bool = False
    ) -> tuple[tuple[Tensor, ...], Timeline]:
        """As `StepEncoder.trace`."""
        start, end, ready = self._controls(rest)
        batch = latents.shape[0]
        time = self._timeline(start, ready, None if probe else rest, batch)
        if self.variant.latent == "fsq":
            latents = codes_from_tokens(latents, self.variant.levels)
        latents = self.form.from_btchw(latents.to(self.numerics.dtype))
        x = self.decoder(latents, time, self._edges(start, end, time))
        frames = self.form.to_btchw(x, batch).permute(0, 1, 3, 4, 2).to(torch.float32)
        if self.options.io == "uint8":
            frames = ((frames + 1.0) * 127.5).clamp(0.0, 255.0).round().to(torch.uint8)
        return (frames,), time

    def _edges(self, start: Tensor | None, end: Tensor | None, time: Timeline) -> Edges | None:
        if start is None or end is None:
            return None
        assert isinstance(time, CausalTimeline)
        # Never, where a call has several latents; written so that the output is no bare constant.
        never = torch.logical_and(start, torch.logical_not(start))
        second = time.flag(start if end.shape[1] == 1 else never)
        return Edges(start, second, end)


def lower(
    model: VidTok, options: StepOptions, kind: Kind, numerics: Numerics = FP32
) -> StepEncoder | StepDecoder:
    """The step of `kind`; `model` is float32 and stays as it is."""
    return (StepEncoder if kind == "encoder" else StepDecoder)(model, options, numerics)
