"""What a device reaches, and how much of that a call of a step takes at least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidtok_edge.runtime.bench.requirement import require

__all__ = ["CallWork", "Ceilings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Rates that a device reached, measured; a multiply-add is two operations."""

    device: str
    """`CPU`, or the GPU's name."""
    copy_gbs: float
    """10^9 bytes per second, read and written."""
    fp32_tflops: float
    """10^12 operations per second, without TF32."""
    fp16_tflops: float | None
    """None where it was not measured: no CPU's is worth it."""

    def __post_init__(self) -> None:
        rates = (self.copy_gbs, self.fp32_tflops, self.fp16_tflops)
        require(all(rate is None or rate > 0 for rate in rates), "a rate is not positive")

    @property
    def of_cpu(self) -> bool:
        return self.device == "CPU"

    def tflops(self, precision: str) -> float | None:
        """Of `fp32` or `fp16`; None for what was not measured, as INT8."""
        return {"fp32": self.fp32_tflops, "fp16": self.fp16_tflops}.get(precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWork:
    """What one call of a step takes at least, as `plan` counts it: docs/plan.md."""

    kind: Literal["encoder", "decoder"]
    operations: float
    """Of convolutions and attention; a multiply-add is two."""
    moved_bytes: float
    """Weights, caches in and out, inputs and outputs; no activations."""

    def __post_init__(self) -> None:
        require(min(self.operations, self.moved_bytes) >= 0, "work is negative")

    def least_ms(self, ceilings: Ceilings, precision: str) -> float | None:
        """Of a call that reaches both ceilings; None where one was not measured."""
        tflops = ceilings.tflops(precision)
        if tflops is None:
            return None
        computing_s = self.operations / (tflops * 1e12)
        return 1e3 * max(computing_s, self.moved_bytes / (ceilings.copy_gbs * 1e9))

    def roofline_share(
        self, ceilings: Ceilings | None, precision: str, taken_ms: float
    ) -> float | None:
        """That least time as a share of what a call took; None where either is not known."""
        least = None if ceilings is None else self.least_ms(ceilings, precision)
        return None if least is None or not taken_ms else least / taken_ms
