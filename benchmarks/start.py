"""From the start of a process to its first tokens: what others take, and what is ours."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from processes import in_fresh_process
from report import Report
from targets import Target, at_most

from vidtok_edge.runtime.bench.measuring.ratios import Spread

__all__ = ["OTHERS", "OURS", "Start", "run_start", "start_target"]

STARTS = 9
OTHERS = ("interpreter", "numpy", "onnxruntime", "session", "run")
"""Python up to its first line, two imports, and ONNX Runtime where it opens and runs a graph."""
OURS = ("import", "load", "open", "push")
"""Without what of them is ONNX Runtime's: `Bundle.load`, `encoder`, and pushes up to a latent."""
LIMIT_S = 0.5

CODE = """
import time
spent, last = {"interpreter": time.monotonic_ns() - SPAWNED_NS}, time.monotonic_ns()

def passed(phase, of_others=None):
    global last
    now = time.monotonic_ns()
    spent[phase], last = now - last, now
    if of_others:
        spent[of_others] = sum(inside)
        spent[phase] -= sum(inside)
        inside.clear()

import numpy as np
passed("numpy")
import onnxruntime
passed("onnxruntime")

inside = []

def timed(name):
    inner = getattr(onnxruntime.InferenceSession, name)
    def outer(*args, **options):
        began = time.monotonic_ns()
        try:
            return inner(*args, **options)
        finally:
            inside.append(time.monotonic_ns() - began)
    setattr(onnxruntime.InferenceSession, name, outer)

timed("__init__")
timed("run_with_iobinding")
last = time.monotonic_ns()

from vidtok_edge.runtime import Bundle
passed("import")
bundle = Bundle.load(BUNDLE)
passed("load")
encoder = bundle.encoder("cpu", precision=PRECISION)
passed("open", "session")
frame = np.zeros((bundle.manifest.height, bundle.manifest.width, 3), np.uint8)
last = time.monotonic_ns()
while not encoder.push(frame):
    pass
passed("push", "run")
import json
print(json.dumps(spent))
"""


@dataclass(frozen=True)
class Start:
    """Seconds of one process, by phase."""

    seconds: Mapping[str, float]

    @property
    def ours(self) -> float:
        return sum(self.seconds[phase] for phase in OURS)

    @property
    def total(self) -> float:
        return sum(self.seconds[phase] for phase in (*OTHERS, *OURS))


def run_start(bundle: Path, precision: str, starts: int = STARTS) -> list[Start]:
    """Fresh processes, one after the other; the first finds no file in the system's cache."""
    with click.progressbar(range(starts), label=f"start, {precision}", file=sys.stderr) as numbers:
        return [_one_start(bundle, precision) for _ in numbers]


def _one_start(bundle: Path, precision: str) -> Start:
    given = f"BUNDLE, PRECISION = {str(bundle)!r}, {precision!r}\n"
    spawned = f"SPAWNED_NS = {time.monotonic_ns()}\n"
    spent = in_fresh_process(given + spawned + CODE)
    return Start({phase: ns / 1e9 for phase, ns in spent.items()})


def start_target(report: Report, bundle: Path, precision: str) -> Target:
    """What is ours at most; each phase is noted."""
    starts = run_start(bundle, precision)
    phases = {name: Spread.of([s.seconds[name] for s in starts]) for name in (*OTHERS, *OURS)}
    total = Spread.of([start.total for start in starts])
    shown = ", ".join(f"{name} {_text(spread)}" for name, spread in phases.items())
    report.notes.append(f"start, {precision}, s: {shown}; together {_text(total)}")
    ours = Spread.of([start.ours for start in starts])
    what = f"of process start to first tokens at most {LIMIT_S} s ours, {precision}"
    return at_most(what, ours, LIMIT_S, f"{_text(ours)} of {_text(total)} s")


def _text(spread: Spread) -> str:
    return f"{spread.median:.3f} ({spread.low:.3f}..{spread.high:.3f})"
