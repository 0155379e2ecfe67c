"""Mixes of float and INT8 layers, streamed in PyTorch and compared with float32 alone.

Both steps are lowered once, in float32. A mix hangs other kernels into their convolutions, as an
INT8 graph has them, so that trying one costs no more than streaming it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtok_edge.calib.int8 import PLACEMENTS
from vidtok_edge.calib.placement import int8_numerics
from vidtok_edge.calib.policy import Level, Policy, Rule
from vidtok_edge.calib.ranges import Ranges
from vidtok_edge.lowering.facts import graph_spec, manifest_of
from vidtok_edge.lowering.interface import KINDS, interface_of
from vidtok_edge.lowering.kernels import Grids, QuantizedKernels
from vidtok_edge.lowering.numerics import FP32, convolutions
from vidtok_edge.lowering.step import Kind, StepDecoder, StepEncoder, StepOptions, lower
from vidtok_edge.lowering.timeline import CausalTimeline
from vidtok_edge.lowering.torch_step import TorchStep
from vidtok_edge.lowering.work import multiply_adds
from vidtok_edge.runtime import Latents, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.manifest.graphs import GraphSpec, Placement
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["Damage", "MixMeter", "MixedStep", "Work"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Damage:
    """What a mix costs on a clip.

    Attributes:
        tokens_equal: share of all tokens that equal those of float32; None for KL.
        psnr_db: of the reconstruction against that of float32; inf where they are equal.
        loss_db: how much less PSNR the reconstruction has against the source; a mix may be lucky
            and lose less than nothing.
    """

    tokens_equal: float | None
    psnr_db: float
    loss_db: float

    def worse(self, other: Damage) -> Damage:
        """The worse of each figure."""
        pair = (self, other)
        tokens = [d.tokens_equal for d in pair if d.tokens_equal is not None]
        return Damage(
            min(tokens, default=None),
            min(d.psnr_db for d in pair),
            max(d.loss_db for d in pair),
        )


class Work:
    """Which part of the work of both graphs together each convolution does."""

    def __init__(self, variant: Variant, options: StepOptions) -> None:
        counts = {k: multiply_adds(variant, options, k) for k in KINDS}
        total = sum(sum(layers.values()) for layers in counts.values())
        self.shares = {
            name: count / total for layers in counts.values() for name, count in layers.items()
        }

    def int8_share(self, levels: Mapping[str, Level]) -> float:
        """Of the layers that `levels` has at `int8`; 0 to 1."""
        return sum(self.shares[name] for name, level in levels.items() if level == "int8")


class MixedStep(TorchStep):
    """A float32 step, some of whose convolutions compute on grids.

    Caches are of the types that the mix gives them: a stream makes them with its first call.
    """

    def __init__(self, module: StepEncoder | StepDecoder, graph: GraphSpec) -> None:
        super().__init__(module, graph)
        self._layers = convolutions(module)
        self._floats = {name: layer.kernels for name, layer in self._layers.items()}
        self._caches: list[Tensor] | None = None

    def mix(self, grids: Mapping[str, Grids]) -> None:
        """Round where `grids` says, and nowhere else. A stream that was under way is over."""
        for name, layer in self._layers.items():
            kernels = self._floats[name]
            if name in grids:
                kernels = QuantizedKernels(kernels, grids[name], torch.float32)
            layer.kernels = kernels
        self._caches = None

    def run(self) -> None:
        data, *controls = (self._tensors[spec.name] for spec in self.graph.host_inputs)
        fresh = self._caches is None
        with torch.inference_mode():
            outputs, time = self.module.trace(data, [*controls, *(self._caches or [])], probe=fresh)
        for spec, output in zip(self.graph.host_outputs, outputs, strict=True):
            self.outputs[spec.name][...] = output.numpy()
        self._caches = time.caches_out if isinstance(time, CausalTimeline) else []


class MixMeter:
    """Streams one clip through mixes and says what they cost.

    Args:
        model: the reference, float32.
        options: how to lower: one stream, fed bytes. The form is the model's own, not that of the
            INT8 graphs: the arithmetic is the same, and PyTorch is faster in it.
        ranges: of every convolution.
        frames: the source, uint8 [T, H, W, 3].
    """

    def __init__(self, model: VidTok, options: StepOptions, ranges: Ranges, frames: Pixels) -> None:
        self.ranges, self.source = ranges, frames
        self._steps: dict[Kind, MixedStep] = {}
        for kind in KINDS:
            graph = graph_spec(kind, options, FP32, interface_of(model.variant, options, kind))
            self._steps[kind] = MixedStep(lower(model, options, kind), graph)
        graphs = tuple(step.graph for step in self._steps.values())
        self._manifest = manifest_of(model.variant, options, graphs=graphs)
        self._latents = self._encoded({})
        self._pictures = self._decoded({}, self._latents)
        self.psnr_db = psnr(frames, self._pictures)
        """Of float32 against the source."""

    def measure(
        self,
        levels: Mapping[str, Level],
        placement: Placement = Placement.ONNXRUNTIME,
    ) -> Damage:
        """What a mix costs, with the grids of one placement and float32 elsewhere."""
        rules = tuple(Rule(name, level) for name, level in levels.items() if level != "float")
        encoder, decoder = (
            int8_numerics(self.ranges, Policy(rules), kind, placement).grids for kind in KINDS
        )
        latents = self._encoded(encoder) if encoder else self._latents
        if not decoder and _same(latents, self._latents):
            return Damage(self._equal(latents), math.inf, 0.0)
        pictures = self._decoded(decoder, latents)
        against_float = psnr(self._pictures, pictures)
        equal = math.isinf(against_float)  # also where both equal the source, whose PSNR is inf
        loss_db = 0.0 if equal else self.psnr_db - psnr(self.source, pictures)
        return Damage(self._equal(latents), against_float, loss_db)

    def measure_both(self, levels: Mapping[str, Level]) -> Damage:
        """The worse figures of both placements: a bundle has both."""
        one, other = (self.measure(levels, placement) for placement in PLACEMENTS)
        return one.worse(other)

    def _encoded(self, grids: Mapping[str, Grids]) -> list[Latents]:
        step = self._steps["encoder"]
        step.mix(grids)
        encoder = StreamEncoder(self._manifest, step)
        latents = [result for frame in self.source for result in encoder.push(frame)]
        return [*latents, *encoder.finish()]

    def _decoded(self, grids: Mapping[str, Grids], latents: Iterable[Latents]) -> Pixels:
        """uint8 [T, H, W, 3]"""
        step = self._steps["decoder"]
        step.mix(grids)
        decoder = StreamDecoder(self._manifest, step)
        pictures = [picture for part in latents for picture in decoder.push(part)]
        return np.stack([picture.pixels for picture in [*pictures, *decoder.finish()]])

    def _equal(self, latents: Sequence[Latents]) -> float | None:
        if not self._manifest.model.levels:
            return None
        equal = [a.values == b.values for a, b in zip(latents, self._latents, strict=True)]
        return float(np.mean(np.concatenate(equal)))


def _same(one: Sequence[Latents], other: Sequence[Latents]) -> bool:
    return all(np.array_equal(a.values, b.values) for a, b in zip(one, other, strict=True))
