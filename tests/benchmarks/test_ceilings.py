"""Ceilings of a device, and the share of them that a call reaches."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ceilings import Ceilings, cpu_ceilings, least_ms
from gpu_run.figures import roofline

from vidtok_edge.runtime.bench.document import CandidateResult

HERE = Ceilings(device="x", copy_gbs=1000.0, fp32_tflops=1.0, fp16_tflops=10.0)


def test_a_cpu_has_ceilings() -> None:
    found = cpu_ceilings(megabytes=4, side=64)
    assert found.copy_gbs > 0 and found.fp32_tflops > 0 and found.fp16_tflops is None


def test_the_slower_of_both_decides() -> None:
    assert least_ms(HERE, multiply_adds=10**9, moved=1, precision="fp32") == pytest.approx(2.0)
    assert least_ms(HERE, multiply_adds=10**9, moved=1, precision="fp16") == pytest.approx(0.2)
    assert least_ms(HERE, multiply_adds=1, moved=10**9, precision="fp16") == pytest.approx(1.0)
    assert least_ms(HERE, multiply_adds=1, moved=1, precision="int8") is None


def candidate(variant: str, precision: str, ms: float) -> CandidateResult:
    from types import SimpleNamespace

    encoder = SimpleNamespace(compute_ms=ms)
    facts: dict[str, Any] = {"height": 64, "width": 64, "streams": 1, "chunk": 1}
    facts |= {"variant": variant, "precision": precision}
    return cast(CandidateResult, SimpleNamespace(**facts, figures=SimpleNamespace(encoder=encoder)))


def test_half_the_speed_is_half_of_the_roofline() -> None:
    name = "vidtok_fsq_causal_488_32768"
    one, half = (roofline(candidate(name, "fp16", ms), HERE) for ms in (1.0, 2.0))
    assert one["of the roofline"] == pytest.approx(2 * half["of the roofline"])
    assert one["encoder Gop"] > 1 and one["encoder MB"] > 1


def test_what_is_not_known_has_no_share() -> None:
    assert roofline(candidate("tiny", "fp32", 1.0), HERE) == {}
    assert roofline(candidate("vidtok_fsq_causal_488_32768", "int8", 1.0), HERE) == {}
    assert roofline(candidate("vidtok_fsq_causal_488_32768", "fp16", 1.0), None) == {}
