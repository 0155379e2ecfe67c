"""What an engine takes, alone on the GPU, and whether it computes what it should."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cuda_events import back_to_back_ms
from tensorrt_layers import Bound, Layer, bound_engine, by_kind, captured, timed_layers

from engine_trials.forms import TRIAL_FORMS
from engine_trials.lowered import model_of, variant_of
from engine_trials.reference import Agreement, Values, agreement, calls_of, reference
from engine_trials.trial import Trial
from vidtok_edge.errors import EngineRefused
from vidtok_edge.lowering.torch_cuda import event_times_ms

__all__ = ["Timed", "streamed", "time_engine"]

LAUNCHES = 100
IN_A_ROW = 50
_UNTOLD = ("Metadata", "Weights", "Bias")
_LONGEST_NAME = 160


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of one engine."""

    median_ms: float
    """Of launches of its CUDA graph."""
    min_ms: float
    back_to_back_ms: float
    scratch_mb: float
    """Activation memory."""
    kinds: dict[str, tuple[int, float]]
    """Layers of each kind, and their milliseconds outside a CUDA graph; the dearest first."""
    layers: list[Layer]
    agreement: Agreement | None
    """None where a reference means nothing."""


def time_engine(trt: Any, runtime: Any, file: Path, trial: Trial, size: int) -> Timed:
    """Stream a few calls through the engine in `file`, then time it and its layers.

    Raises:
        EngineRefused: TensorRT does not load it.
    """
    engine = runtime.deserialize_cuda_engine(file.read_bytes())
    if engine is None:
        raise EngineRefused(f"TensorRT {trt.__version__} does not load {file}.")
    bound, found = bound_engine(engine), None
    host_zeroes = TRIAL_FORMS[trial.form].host_zeroes
    if trial.compared:
        calls, expected = reference(model_of(trial.model), trial.kind, size, host_zeroes)
        found = agreement(trial.kind, streamed(bound, calls), expected)
    else:
        streamed(bound, calls_of(variant_of(trial.model), trial.kind, size, host_zeroes))
    graph = captured(bound)
    times = event_times_ms(graph.replay, LAUNCHES)
    in_a_row = back_to_back_ms(graph.replay, IN_A_ROW)
    layers = timed_layers(trt, bound)
    return Timed(
        median_ms=statistics.median(times),
        min_ms=min(times),
        back_to_back_ms=in_a_row,
        scratch_mb=engine.device_memory_size_v2 / 1e6,
        kinds=by_kind(layers),
        layers=[_short(layer) for layer in layers],
        agreement=found,
    )


def streamed(bound: Bound, calls: Sequence[Values]) -> list[Values]:
    """What the engine gives for each call of a stream; the first finds the caches as they are."""
    found = list[Values]()
    for given in calls:
        for name, value in given.items():
            if name in bound.tensors:  # TensorRT leaves out an input that nothing reads
                bound.tensors[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))
        torch.cuda.synchronize()
        bound.run()
        found.append(
            {
                name: bound.tensors[name].cpu().numpy().copy()
                for name in ("tokens", "frames")
                if name in bound.tensors
            }
        )
        bound.pass_caches_on()
    return found


def _short(layer: Layer) -> Layer:
    kept = {key: value for key, value in layer.items() if key not in _UNTOLD}
    return kept | {"Name": layer["Name"][:_LONGEST_NAME], "ms": round(layer["ms"], 5)}
