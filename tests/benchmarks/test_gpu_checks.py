"""The checks for a GPU machine, rehearsed on the GPU made of host memory of the tests."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import gpu_checks
import numpy as np
import pytest
import torch
import torch_engine
from click.testing import CliRunner
from fake_gpu import FakeApi
from gpu_checks import (
    Amount,
    Check,
    Parity,
    chunk_shape,
    difference,
    engine_checks,
    fault_of,
    original_checks,
    run_checks,
)
from narrow import narrow
from torch_engine import FakeDevice, constants_once

from vidtok_edge.runtime.manifest.graphs import TensorSpec

MODEL = "vidtok_fsq_causal_488_32768_v1_1"


@pytest.mark.slow
def test_engines_of_every_kind_form_and_precision_are_checked() -> None:
    api = FakeApi()
    checks = engine_checks(narrow(MODEL, 16), Amount(16, 2, 0), FakeDevice(api))
    assert len(checks) == 8
    make = torch.tensor
    results = list(run_checks(checks, math.inf))
    assert torch.tensor is make, "the compilers of what is measured next use it"
    for result in results:
        assert "failed" not in result, result
        assert result["cuda_graph"] and not result["fell_back"]
        assert result["upload_ms"] == result["compute_ms"] == result["download_ms"] == 0.25
        exact = result["precision"] == "fp32"
        assert result["max_difference"] <= (1e-4 if exact else 2), "levels of pixels, or latents"
        assert result["max_cache_difference"] <= (1e-4 if exact else 0.1)
        assert (result["equal_tokens"] is None) is (result["kind"] == "decoder")
        if exact and result["kind"] == "encoder":
            assert result["equal_tokens"] == 1
    assert not [size for way, size in api.pageable if way == "up"], "calls upload pinned memory"


def test_the_command_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def checks(model: Any, amount: Amount, device: Any) -> list[Check]:
        return [Check({"what": "one"}, lambda: {"call_ms": 1.0}), Check({"what": "two"}, lost)]

    def lost() -> dict[str, Any]:
        raise RuntimeError("the device was lost")

    monkeypatch.setattr(gpu_checks, "engine_checks", checks)
    out = tmp_path / "result.json"
    done = CliRunner().invoke(gpu_checks.main, [str(out), "--fake", "--size", "32"])
    assert done.exit_code == 1, "a check failed"
    written = json.loads(out.read_text())
    assert written["results"] == [
        {"what": "one", "call_ms": 1.0},
        {"what": "two", "failed": "RuntimeError: the device was lost"},
    ]
    assert [json.loads(line) for line in done.output.splitlines()] == written["results"]


@pytest.mark.parametrize(
    ("parity", "kind", "precision", "said"),
    [
        (Parity(1.0, 1e-5, 1e-5), "encoder", "fp32", ""),
        (Parity(0.98, 0.05, 0.0), "encoder", "fp32", "98.0% of the tokens are float32's"),
        (Parity(0.98, 0.4, 0.0), "encoder", "fp16", ""),
        (Parity(0.1, 0.4, 0.0), "encoder", "fp16", "at least 50% must be"),
        (Parity(None, 3.0, 0.0), "decoder", "fp32", "outputs are up to 3 apart"),
        (Parity(None, 9.0, math.inf), "decoder", "fp16", "up to 9 apart, caches inf"),
    ],
)
def test_a_step_that_rounding_does_not_explain_has_failed(
    parity: Parity, kind: Any, precision: str, said: str
) -> None:
    fault = fault_of(parity, kind, precision)
    assert said in fault and bool(said) == bool(fault)


def test_what_is_no_number_is_far_away() -> None:
    one, other = np.array([1.0, np.nan], np.float16), np.array([1.5, np.nan], np.float32)
    assert difference(one, other) == 0.5
    assert difference(one, np.array([1.5, 2.0])) == math.inf
    assert difference(np.array([1.5, 2.0]), one) == math.inf


def test_nothing_begins_when_the_time_is_over() -> None:
    ran = Check({"what": "late"}, dict)
    assert list(run_checks([ran], time.monotonic() - 1)) == [
        {"what": "late", "left_out": "no time"}
    ]


def test_memory_that_an_engine_was_robbed_of() -> None:
    """The rehearsal looks addresses up in each call, so that it can find such a fault."""
    api = FakeApi()
    device = FakeDevice(api)
    address = device.cuda.device_buffer(64)
    spec = TensorSpec("x", "uint8", (64,))
    tensor = device.tensor(address, spec)
    assert tensor().shape == (64,)
    device.cuda.free_device_buffer(address)
    with pytest.raises(AssertionError, match=r"x: 64 B of device memory at .* was freed"):
        tensor()


def test_constants_are_made_once_and_only_meanwhile() -> None:
    make = torch.tensor
    with constants_once():
        one = torch.tensor([1.0, 2.0], dtype=torch.float64)
        assert torch.tensor([1.0, 2.0], dtype=torch.float64) is one
        assert torch.tensor([1.0, 2.0]) is not one
    assert torch.tensor is make


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        (MODEL, "encoder", (1, 3, 4, 64, 64)),
        (MODEL, "decoder", (1, 5, 1, 8, 8)),
        ("vidtok_kl_causal_488_4chn", "decoder", (1, 4, 1, 8, 8)),
    ],
)
def test_the_chunk_that_the_original_is_given(name: str, kind: Any, shape: Any) -> None:
    assert chunk_shape(narrow(name, 16), kind, 64) == shape


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch_engine, "present_gpu", lambda: None)
    done = CliRunner().invoke(gpu_checks.main, [str(tmp_path / "result.json")])
    assert done.exit_code == 1
    assert "No NVIDIA GPU was found here. Use --fake" in done.output


def test_the_original_is_compiled_in_every_mode_and_quickest_first() -> None:
    checks = original_checks(narrow(MODEL, 16), 32)
    told = [
        (check.facts["what"], check.facts["precision"], check.facts["kind"]) for check in checks
    ]
    assert len(set(told)) == len(told) == 4 * 2 * 2
    modes = list(dict.fromkeys(what.rpartition(" ")[2] for what, _, _ in told))
    assert modes == ["eager", "reduce-overhead", "default", "max-autotune"]
