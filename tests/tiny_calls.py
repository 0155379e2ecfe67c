"""Calls of the tiny bundle's encoder whose results are known."""

from __future__ import annotations

from typing import Any

from vidtok_edge.runtime.backends.step import Step

__all__ = ["run_flat"]


def run_flat(
    step: Step, values: tuple[int, int], start: bool = False, ready: Any = True
) -> list[int]:
    """One call on frames of flat brightness; the tokens of both slots."""
    for slot, value in enumerate(values):
        step.inputs["frames"][slot] = value
    step.inputs["start"][:] = start
    step.inputs["ready"][:, 0] = ready
    step.run()
    return [int(t) for t in step.outputs["tokens"][:, 0, 0, 0]]
