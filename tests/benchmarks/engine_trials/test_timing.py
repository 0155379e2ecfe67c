"""An engine of a trial is timed, and held to what it should compute."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from engine_trials import timing
from engine_trials.lowered import lowered, model_of
from engine_trials.trial import Trial
from tensorrt_layers import Bound

from vidtok_edge.lowering.interface import Interface, zeros

SIZE = 32


class Context:
    """Runs the step in PyTorch on the tensors that it is bound to."""

    profiler: Any = None

    def __init__(self, module: Any, interface: Interface, tensors: dict[str, torch.Tensor]) -> None:
        self.module, self.interface, self.tensors = module, interface, tensors

    def execute_async_v3(self, stream: int) -> None:
        given = [self.tensors[spec.name] for spec in self.interface.inputs]
        with torch.inference_mode():
            for spec, value in zip(self.interface.outputs, self.module(*given), strict=True):
                self.tensors[spec.name].copy_(value)
        if self.profiler is not None:
            self.profiler.report_layer_time("a", 0.5)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_an_engine_streams_and_is_timed(
    kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trial = Trial("embedded", kind, "chunk-tail")
    module, interface = lowered(model_of("embedded"), replace(trial, precision="fp32"), SIZE)
    specs = (*interface.inputs, *interface.outputs)
    tensors = {spec.name: value for spec, value in zip(specs, zeros(specs), strict=True)}
    layers = [{"Name": "a" * 300, "LayerType": "conv", "Metadata": "long"}]
    layers += [{"Name": "a", "LayerType": "conv"}]
    inspector = SimpleNamespace(
        get_engine_information=lambda format: json.dumps({"Layers": layers})
    )
    engine = SimpleNamespace(
        create_engine_inspector=lambda: inspector, device_memory_size_v2=2_000_000
    )
    stream: Any = SimpleNamespace(cuda_stream=1, synchronize=lambda: None)
    context = Context(module, interface, tensors)
    replays = SimpleNamespace(replay=lambda: None)
    monkeypatch.setattr(timing, "bound_engine", lambda e: Bound(e, context, tensors, stream))
    monkeypatch.setattr(timing, "captured", lambda bound: replays)
    monkeypatch.setattr(timing, "event_times_ms", lambda run, calls: [2.0, 1.0, 4.0])
    monkeypatch.setattr(timing, "back_to_back_ms", lambda run, calls: 1.5)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    trt = SimpleNamespace(
        IProfiler=type("IProfiler", (), {}), LayerInformationFormat=SimpleNamespace(JSON=1)
    )
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda content: engine)
    (tmp_path / "engine").write_bytes(b"engine")
    timed = timing.time_engine(trt, runtime, tmp_path / "engine", trial, SIZE)
    assert (timed.median_ms, timed.min_ms, timed.back_to_back_ms) == (2.0, 1.0, 1.5)
    assert timed.scratch_mb == 2.0 and timed.kinds == {"conv": (2, 0.5)}
    assert timed.layers[0] == {"Name": "a" * 160, "LayerType": "conv", "ms": 0.0}
    assert timed.agreement is not None
    if kind == "encoder":
        assert timed.agreement.equal_tokens == 1.0, "also in the calls that read caches"
    else:
        assert cast(float, timed.agreement.psnr_db) > 50
