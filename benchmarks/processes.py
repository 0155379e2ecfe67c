"""What only a fresh process can tell: the import's time and modules, and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
from numpy.typing import NDArray
from paired import Spread, progress

MEMORY_CHUNKS = 8
MEMORY_PAIRS = 3  # PyTorch's peak differs by a quarter from process to process
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


@dataclass(frozen=True)
class Memory:
    """Resident memory of pairs of processes that encode and decode the same chunks, in MB."""

    runtime_loaded: Spread
    """Before the first chunk."""
    runtime_peak: Spread
    torch_loaded: Spread
    torch_peak: Spread
    ratio: Spread
    """Of the peaks, runtime over PyTorch, in each pair."""


def run_import() -> Import:
    with progress(range(IMPORTS), "import: fresh processes") as numbers:
        results = [in_fresh_process(IMPORT_CODE) for _ in numbers]
    loaded = sorted({name for _, names in results for name in names})
    seconds = Spread.of([seconds for seconds, _ in results])
    return Import(seconds, [n for n in loaded if n != "onnxruntime"], "onnxruntime" in loaded)


def run_memory(bundle: Path) -> Memory:
    """Compare the embedded model's bundle, at its size, with the original."""
    code = "import processes; processes.{}_process({!r})"
    with progress(range(MEMORY_PAIRS), "memory: fresh processes") as numbers:
        pairs = [
            [in_fresh_process(code.format(whose, str(bundle))) for whose in ("runtime", "torch")]
            for _ in numbers
        ]
    loaded = [Spread.of([pair[whose][0] for pair in pairs]) for whose in (0, 1)]
    peak = [Spread.of([pair[whose][1] for pair in pairs]) for whose in (0, 1)]
    ratio = Spread.of([ours[1] / original[1] for ours, original in pairs])
    return Memory(loaded[0], peak[0], loaded[1], peak[1], ratio)


def runtime_process(path: str) -> None:
    """Run in a fresh process: the chunks through the runtime, as a user does it."""
    from vidtok_edge.runtime import Bundle

    bundle = Bundle.load(path)
    frames = random_frames(bundle.manifest.chunk_frames, bundle.manifest.height)
    with bundle.encoder("cpu") as encoder, bundle.decoder("cpu") as decoder:
        loaded, latents_made = memory_mb("VmRSS"), 0
        for number in range(1 + (MEMORY_CHUNKS - 1) * len(frames)):  # one frame makes the first
            for latents in encoder.push(frames[number % len(frames)]):
                decoder.push(latents)
                latents_made += len(latents)
    assert latents_made == MEMORY_CHUNKS
    print(json.dumps([loaded, memory_mb("VmHWM")]))


def torch_process(path: str) -> None:
    """Run in a fresh process: as many chunks through the original modules."""
    import torch

    from vidtok_edge.runtime import Bundle
    from vidtok_edge.vidtok_ref import load_weights
    from vidtok_edge.vidtok_ref.regularizer import fsq

    manifest = Bundle.load(path).manifest
    model, _ = load_weights("fsq", None)
    frames = random_frames(manifest.chunk_frames, manifest.height)
    loaded = memory_mb("VmRSS")
    with torch.inference_mode():
        for _ in range(MEMORY_CHUNKS):
            video = torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1.0
            codes, _ = fsq(model.encoder(video), model.variant.levels)
            model.decoder(codes).clamp(-1.0, 1.0).add(1.0).mul(127.5).round().to(torch.uint8)
    print(json.dumps([loaded, memory_mb("VmHWM")]))


def in_fresh_process(code: str) -> Any:
    """What `code` prints, as JSON; it can import the modules of this folder."""
    paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def memory_mb(what: Literal["VmHWM", "VmRSS"]) -> float:
    """Peak or present resident memory of this process, in MB (1e6 bytes).

    Not `ru_maxrss`: on Linux a child inherits its parent's through exec.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        raise click.ClickException(f"Memory is read from /proc, on Linux only ({error}).") from None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what))


def random_frames(count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
