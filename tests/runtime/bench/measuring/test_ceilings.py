"""Ceilings of the CPU."""

from __future__ import annotations

from vidtok_edge.runtime.bench.measuring.ceilings import cpu_ceilings


def test_a_cpu_has_ceilings() -> None:
    found = cpu_ceilings(megabytes=4, side=64)
    assert found.of_cpu and found.copy_gbs > 0 and found.fp32_tflops > 0
    assert found.fp16_tflops is None and found.tflops("int8") is None
