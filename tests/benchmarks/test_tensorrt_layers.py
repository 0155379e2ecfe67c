"""What is said of an engine's layers, with a TensorRT that is played."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorrt_layers
import torch
from click.testing import CliRunner
from tensorrt_layers import Bound, report, timed_layers

from vidtok_edge.errors import BackendUnavailable

LAYERS = [
    {"Name": "a", "LayerType": "conv"},
    {"Name": "b", "LayerType": "reformat"},
    {"Name": "c", "LayerType": "reformat"},
]


class Context:
    """Says that layers took 1, 2 and 3 ms the first time, and each call 1 ms more."""

    profiler: Any = None
    calls = 0

    def execute_async_v3(self, stream: int) -> None:
        for ms, layer in enumerate(LAYERS[:2], 1):
            self.profiler.report_layer_time(layer["Name"], ms + self.calls)
        self.calls += 1


@pytest.fixture
def bound() -> Bound:
    text = json.dumps({"Layers": LAYERS})
    inspector = SimpleNamespace(get_engine_information=lambda format: text)
    engine = SimpleNamespace(create_engine_inspector=lambda: inspector)
    stream: Any = SimpleNamespace(cuda_stream=1, synchronize=lambda: None)
    return Bound(engine, Context(), {"frames": torch.zeros(250_000)}, stream)


def test_each_layer_has_its_median_and_each_kind_its_sum(bound: Bound) -> None:
    class IProfiler:
        pass

    trt = SimpleNamespace(IProfiler=IProfiler, LayerInformationFormat=SimpleNamespace(JSON=1))
    layers = timed_layers(trt, bound)
    assert [layer["ms"] for layer in layers] == [5.5, 6.5, 0.0], "one was not reported on"
    head, *kinds = report([3.0, 1.0, 2.0], bound, layers).splitlines()
    assert head == "CUDA graph: median 2.000 ms, least 1.000 ms; inputs and outputs 1.0 MB"
    assert [kind.split() for kind in kinds] == [
        ["reformat", "2", "layers", "6.500", "ms"],
        ["conv", "1", "layers", "5.500", "ms"],
    ]


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def require_torch_cuda() -> None:
        raise BackendUnavailable("PyTorch sees no GPU.")

    monkeypatch.setattr(tensorrt_layers, "require_torch_cuda", require_torch_cuda)
    graph = tmp_path / "graph.onnx"
    graph.touch()
    done = CliRunner().invoke(tensorrt_layers.main, [str(graph), str(tmp_path / "result.json")])
    assert done.exit_code == 1
    assert "Error: PyTorch sees no GPU." in done.output
