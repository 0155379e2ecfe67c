"""What a tokenizer will cost at one size, and what known devices could do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidtok_edge.calib.placement import planned_numerics
from vidtok_edge.export.planning.cost import (
    Bound,
    GraphCost,
    Rates,
    bound,
    cost_of,
    rates_of,
    require_countable,
)
from vidtok_edge.export.planning.devices import DEVICES, Device
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.runtime.manifest.graphs import Precision
from vidtok_edge.variants import Variant

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One size of one variant: rates, costs by precision, bounds by precision and device."""

    variant: Variant
    options: StepOptions
    fps: float
    """Frames per second of each stream."""
    rates: Rates
    costs: dict[Precision, list[GraphCost]]
    bounds: dict[Precision, dict[Device, Bound]]

    @property
    def size(self) -> str:
        """As `256x256`, height first."""
        return f"{self.options.height}x{self.options.width}"

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON; bytes, milliseconds, and rates per second."""
        return {
            "variant": self.variant.name,
            "options": asdict(self.options),
            "fps": self.fps,
            "rates": asdict(self.rates),
            "costs": {
                precision: [asdict(cost) | {"memory": cost.memory} for cost in costs]
                for precision, costs in self.costs.items()
            },
            "bounds": {
                device.name: {
                    precision: self._bound_facts(bounds[device])
                    for precision, bounds in self.bounds.items()
                }
                for device in DEVICES
            },
            "sources": {device.name: device.source for device in DEVICES},
        }

    def _bound_facts(self, found: Bound) -> dict[str, Any]:
        late = found.ms > self.rates.period_ms
        return asdict(found) | {"ms": found.ms, "limit": found.limit, "late": late}


def plan_of(
    variant: Variant,
    options: StepOptions,
    *,
    fps: float,
    kinds: Sequence[Kind],
    precisions: Sequence[Precision],
) -> Plan:
    """The plan of the graphs `kinds`, one call of each after the other; needs no weights.

    Raises:
        UnsupportedSize, UsageError: `options` that `variant` cannot be lowered with, or that are
            too large to be counted.
    """
    require_countable(options)
    costs = {
        precision: [
            cost_of(variant, options, kind, planned_numerics(variant, options, kind, precision))
            for kind in kinds
        ]
        for precision in precisions
    }
    return Plan(
        variant=variant,
        options=options,
        fps=fps,
        rates=rates_of(variant, options, fps),
        costs=costs,
        bounds={
            precision: {device: bound(found, device) for device in DEVICES}
            for precision, found in costs.items()
        },
    )
