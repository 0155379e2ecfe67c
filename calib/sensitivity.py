"""What each layer costs by itself: it alone at its level of the policy, all others in float32."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vidtok_edge.calib.mix import MixMeter, Work
from vidtok_edge.calib.policy import Level
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.step import Kind
from vidtok_edge.runtime.progress import Progress, no_progress

__all__ = ["LATENTS", "LayerDamage", "damages"]

LATENTS = 6
"""How many latents are streamed for each figure: past the start, whose caches are fresh, and short
enough for a model of a hundred layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDamage:
    """What one layer costs alone.

    Attributes:
        kind: of the graph it is in.
        layer: its name.
        level: what it is at.
        work_share: its part of the multiply-adds of both graphs, 0 to 1.
        tokens_equal: share of all tokens that equal those of float32, 1 for layers of the decoder;
            None for KL.
        psnr_db: of the reconstruction against that of float32; inf where they are equal.
        loss_db: PSNR lost against the source.
    """

    kind: Kind
    layer: str
    level: Level
    work_share: float
    tokens_equal: float | None
    psnr_db: float
    loss_db: float

    @property
    def error(self) -> float:
        """Mean squared error against the reconstruction of float32, of values from 0 to 1."""
        return 0.0 if math.isinf(self.psnr_db) else 10 ** (-self.psnr_db / 10)

    @property
    def tokens_changed(self) -> float:
        """Share of all tokens; 0 for KL."""
        return 0.0 if self.tokens_equal is None else 1 - self.tokens_equal


def damages(
    meter: MixMeter,
    work: Work,
    levels: Mapping[str, Level],
    progress: Progress = no_progress,
) -> tuple[LayerDamage, ...]:
    """The damage of each layer that `levels` does not have in float, the worst picture first.

    Measured with the grids of the graphs for ONNX Runtime. TensorRT's differ, but what this is for
    is the order of the layers.

    Args:
        meter: of the clip.
        work: of the model.
        levels: by layer.
        progress: called after each layer.
    """
    rounded = [
        (kind, name, levels[name])
        for kind in KINDS
        for name in meter.ranges.layers(kind)
        if levels[name] != "float"
    ]
    found = []
    for number, (kind, name, level) in enumerate(rounded):
        damage = meter.measure({name: level})
        found.append(
            LayerDamage(
                kind=kind,
                layer=name,
                level=level,
                work_share=work.shares[name],
                tokens_equal=damage.tokens_equal,
                psnr_db=damage.psnr_db,
                loss_db=damage.loss_db,
            )
        )
        progress(number + 1, len(rounded))
    return tuple(sorted(found, key=lambda damage: -damage.error))
