"""The benchmarks of a checkout can be imported here; a source distribution has none."""

from __future__ import annotations

import sys
from pathlib import Path

_BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

if _BENCHMARKS.exists():
    sys.path.append(str(_BENCHMARKS))  # at the end: `runtime.py` there shall hide nothing
else:
    collect_ignore_glob = ["test_*.py", "engine_trials/*"]
