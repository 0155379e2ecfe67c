"""The script of frames on the device, as far as a GPU made of host memory goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import device_frames
import numpy as np
import pytest
from click.testing import CliRunner
from device_frames import same, shared_here, speed, tokens_of
from fake_gpu import FakeApi
from fake_tensorrt import fake_engine

from vidtok_edge.errors import DeviceError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime import bundle as bundle_module
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.memory import Memory


def test_every_memory_that_the_gpu_shares_is_tried(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi()
    monkeypatch.setattr(device_frames, "load_cuda", lambda target: Cuda(api))
    assert shared_here("cpu") == []
    assert shared_here("tensorrt") == [Memory.MAPPED, Memory.MANAGED]

    def opened(folder: Path, graph: Any, backend: Any, **options: Any) -> Any:
        memory = Memory(options["memory"] or Memory.DEVICE)
        return fake_engine(graph, folder / graph.file, api, memory=memory)

    monkeypatch.setattr(bundle_module, "open_step", opened)
    bundle = Bundle.load(tiny)
    frames = list(np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8))
    wanted = tokens_of(bundle, "tensorrt", "fp32", frames, "host")
    assert len(wanted) == 2
    for memory in shared_here("tensorrt"):
        assert same(tokens_of(bundle, "tensorrt", "fp32", frames, "host", memory), wanted)
        measured = speed(bundle, "tensorrt", "fp32", frames, ("host", 1, memory), 1)
        assert (measured.memory, measured.frames_on) == (memory, "host")


def test_what_is_known_is_written_before_memory_that_fails(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(backend: str) -> list[Memory]:
        raise DeviceError("cudaMallocManaged failed.")

    monkeypatch.setattr(device_frames, "shared_here", failing)
    out = tmp_path / "result.json"
    options = ["--backend", "cpu", "--precision", "fp32", "--calls", "2"]
    done = CliRunner().invoke(device_frames.main, [str(tiny), str(out), *options])
    assert done.exit_code == 1 and "cudaMallocManaged failed" in done.output
    written = json.loads(out.read_text())["device_frames"]
    assert written["equal"] and len(written["checks"]) == len(written["speeds"]) == 3
