"""How many cameras a device could follow at most, by the bounds of a plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vidtok_edge.export.planning.devices import DEVICES, Device
from vidtok_edge.export.planning.plan import plan_of
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.runtime.manifest.graphs import Precision
from vidtok_edge.variants import Variant

__all__ = ["device_called", "planned_cameras"]

_MAKERS = {"nvidia", "geforce", "tesla"}


def device_called(gpu: str) -> Device | None:
    """The device of the table that a driver calls `gpu`, as `NVIDIA H200`; None for another.

    Every word must be the same but the maker's and the memory's: a 4070 Ti is no 4070.
    """
    wanted = _words(gpu)
    return next((device for device in DEVICES if _words(device.name) == wanted), None)


def planned_cameras(
    variant: Variant,
    options: StepOptions,
    *,
    device: Device,
    fps: float,
    kinds: Sequence[Kind],
    precision: Precision,
    numbers: Sequence[int],
) -> int | None:
    """The largest of `numbers` of cameras that `device` could follow; None where it is none.

    A bound: both peaks of the data sheet are reached. `options` are those of a call but for its
    streams. Raises as `plan_of` does.
    """
    for number in sorted(numbers, reverse=True):
        with_number = replace(options, streams=number)
        plan = plan_of(variant, with_number, fps=fps, kinds=kinds, precisions=[precision])
        bound = plan.bounds[precision][device]
        if bound.fits and bound.ms <= plan.rates.period_ms:
            return number
    return None


def _words(name: str) -> frozenset[str]:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return frozenset(w for w in words if w not in _MAKERS and not re.fullmatch(r"\d+gb", w))
