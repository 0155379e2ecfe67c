"""Some calls of a stream, and what a model gives for them in float32 on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.lowering.facts import BOTH_FP32
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.clips.quality import psnr
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.proving.scenes import golden_frame
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["Agreement", "Values", "agreement", "calls_of", "outputs_of", "reference"]

CALLS = 5

Values = Mapping[str, NDArray[np.generic]]
"""Of one call, by the names of inputs or outputs, without the caches."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much of a few calls is as the reference gives it."""

    equal_tokens: float | None
    """The mean share of a call; None for a decoder."""
    psnr_db: float | None
    """Of pictures, at most 99; None for an encoder."""


def calls_of(variant: Variant, kind: Kind, size: int, host_zeroes: bool) -> list[Values]:
    """What the host gives: frames of the golden stream's recipe, or tokens that are noise.

    `host_zeroes`: no call is a start; the caches that it finds are zeros.
    """
    noise, grid = np.random.default_rng(0), size // variant.space_factor
    found = list[Values]()
    for call in range(CALLS):
        given: dict[str, NDArray[np.generic]] = {}
        if kind == "encoder":
            numbers = range(call * variant.time_factor, (call + 1) * variant.time_factor)
            frames = [golden_frame(number, size, size, cut=8) for number in numbers]
            given["frames"] = np.stack(frames)[None]
        else:
            most = int(np.prod(variant.levels))
            given["tokens"] = noise.integers(most, size=(1, 1, grid, grid), dtype=np.int32)
            given["end"] = np.zeros((1, 1), np.bool_)
        given["start"] = np.full((1, 1), call == 0 and not host_zeroes)
        found.append(given)
    return found


@cache
def reference(
    model: VidTok, kind: Kind, size: int, host_zeroes: bool
) -> tuple[list[Values], list[Values]]:
    """Calls of `model`, and what its lowered step gives; a decoder's tokens are the encoder's."""
    calls = calls_of(model.variant, kind, size, host_zeroes)
    if kind == "decoder":
        _, encoded = reference(model, "encoder", size, False)
        calls = [
            {**call, "tokens": one["tokens"]} for call, one in zip(calls, encoded, strict=True)
        ]
    options = StepOptions(size, size, form="conv2d")
    step = TorchStreams(model, options, BOTH_FP32).steps[kind]
    return calls, [outputs_of(step, call) for call in calls]


def outputs_of(step: Step, given: Values) -> Values:
    """What `step` gives in its next call."""
    for name, tensor in step.inputs.items():
        tensor[...] = given[name]
    step.run()
    return {name: value.copy() for name, value in step.outputs.items()}


def agreement(kind: Kind, got: Sequence[Values], expected: Sequence[Values]) -> Agreement:
    """How close outputs of the same calls are."""
    if kind == "encoder":
        pairs = zip(got, expected, strict=True)
        shares = [float(np.mean(a["tokens"] == b["tokens"])) for a, b in pairs]
        return Agreement(sum(shares) / len(shares), None)
    return Agreement(None, min(99.0, psnr(_pictures(got), _pictures(expected))))


def _pictures(outputs: Sequence[Values]) -> NDArray[np.uint8]:
    """uint8 [T, H, W, 3] of all calls."""
    return np.concatenate([one["frames"][0] for one in outputs]).astype(np.uint8)
