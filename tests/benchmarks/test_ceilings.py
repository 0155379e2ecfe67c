"""The share of a device's ceilings that a call reaches, in the table of a run on a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from ceilings import main
from click.testing import CliRunner
from gpu_run.figures import roofline

from vidtok_edge.export import bench_ceilings
from vidtok_edge.runtime.bench.candidate_result import CandidateResult
from vidtok_edge.runtime.bench.ceilings import CallWork, Ceilings

HERE = Ceilings(device="x", copy_gbs=1000.0, fp32_tflops=1.0, fp16_tflops=10.0)
WORK = CallWork(kind="encoder", operations=2e9, moved_bytes=1.0)


def candidate(precision: str, ms: float, *work: CallWork) -> CandidateResult:
    figures = SimpleNamespace(encoder=SimpleNamespace(compute_ms=ms))
    facts: dict[str, Any] = {"precision": precision, "work": work, "figures": figures}
    return cast(CandidateResult, SimpleNamespace(**facts))


def test_half_the_speed_is_half_of_the_roofline() -> None:
    one, half = (roofline(candidate("fp16", ms, WORK), HERE) for ms in (1.0, 2.0))
    assert one["of the roofline"] == pytest.approx(0.2) == 2 * half["of the roofline"]
    assert (one["encoder Gop"], one["encoder MB"]) == (2, 1e-6)


def test_what_is_not_known_has_no_share() -> None:
    assert roofline(candidate("fp16", 1.0), HERE) == {}
    assert roofline(candidate("int8", 1.0, WORK), HERE)["of the roofline"] is None
    assert roofline(candidate("fp16", 1.0, WORK), None)["of the roofline"] is None


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = CliRunner().invoke(main, [str(tmp_path / "a.json")])
    assert done.exit_code == 1 and not (tmp_path / "a.json").exists()


def test_a_gpu_without_the_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A benchmark goes on without its ceilings; this one says why."""

    def out_of_memory(*size: Any, **options: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 1024.00 MiB.\nMore.")

    monkeypatch.setattr(bench_ceilings, "require_torch_cuda", lambda: None)
    monkeypatch.setattr(torch, "ones", out_of_memory)
    done = CliRunner().invoke(main, [str(tmp_path / "a.json")])
    assert done.exit_code == 1
    assert "does not run on this GPU: CUDA out of memory. Tried" in done.output
    assert "More" not in done.output
