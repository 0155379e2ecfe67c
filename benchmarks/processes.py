"""What only a fresh process can tell: the import's time and modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from vidtok_edge.runtime.bench.measuring.ratios import Spread

__all__ = ["Import", "in_fresh_process", "run_import"]

IMPORTS = 5
IMPORT_CODE = """
import sys, time
began = time.perf_counter()
import vidtok_edge.runtime
seconds = time.perf_counter() - began
import json
watched = ("torch", "onnx", "av", "onnxruntime")
print(json.dumps([seconds, [name for name in watched if name in sys.modules]]))
"""


@dataclass(frozen=True)
class Import:
    """`import vidtok_edge.runtime` in fresh interpreters."""

    seconds: Spread
    loaded: list[str]
    """Which of the libraries that it must not load it loaded."""
    onnxruntime_loaded: bool


def run_import() -> Import:
    with click.progressbar(range(IMPORTS), label="import", file=sys.stderr) as numbers:
        results = [in_fresh_process(IMPORT_CODE) for _ in numbers]
    loaded = sorted({name for _, names in results for name in names})
    seconds = Spread.of([seconds for seconds, _ in results])
    return Import(seconds, [n for n in loaded if n != "onnxruntime"], "onnxruntime" in loaded)


def in_fresh_process(code: str) -> Any:
    """What `code` prints, as JSON; it can import the modules of this folder."""
    paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)
