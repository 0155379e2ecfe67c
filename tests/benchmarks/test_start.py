"""The start of a process is parted into phases that leave nothing out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are those of a git checkout", allow_module_level=True)

from start import OTHERS, OURS, run_start  # noqa: E402


def test_every_phase_is_in_the_whole(tiny: Path) -> None:
    began = time.monotonic()
    starts = run_start(tiny, "fp32", starts=2)
    took = time.monotonic() - began
    for start in starts:
        assert set(start.seconds) == {*OTHERS, *OURS}
        assert all(seconds > 0 for seconds in start.seconds.values())
        others = sum(start.seconds[phase] for phase in OTHERS)
        assert start.ours + others == pytest.approx(start.total)
    assert sum(start.total for start in starts) < took
