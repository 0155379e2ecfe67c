"""What `make gpu` runs on a machine with a GPU: steps, what each needs, and how long it takes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidtok_edge.runtime.backends.gpu import present_gpu

__all__ = ["NEEDS", "Places", "Step", "rehearsal", "steps"]

ROOT = Path(__file__).resolve().parents[1]
GPU_TESTS = (
    "tests/runtime/backends/test_gpu.py",
    "tests/runtime/backends/test_steps.py",
    "tests/runtime/backends/engines/building/test_engine_run.py",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command, in a process of its own.

    Attributes:
        name: also of its log.
        does: for people.
        command: what is run, in the root of the checkout.
        needs: names of `NEEDS`.
        after: steps that must have passed.
        expected_s: on an H100 or H200; a step for which less time is left is not begun.
        limit_s: after so long it is ended.
        makes: files and folders in `Places.folder` that are its results.
    """

    name: str
    does: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    expected_s: float
    limit_s: float
    makes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where results and bundles lie."""

    folder: Path
    bundle: Path
    full_width: Path


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _torch_on_gpu() -> bool:
    if not _installed("torch"):
        return False
    import torch

    return torch.cuda.is_available()


def _cuda_provider() -> bool:
    if not _installed("onnxruntime"):
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


NEEDS: Mapping[str, tuple[str, Callable[[], bool]]] = {
    "gpu": ("an NVIDIA GPU", lambda: present_gpu() is not None),
    "tensorrt": ("TensorRT", lambda: _installed("tensorrt")),
    "cuda-bindings": ("cuda-bindings", lambda: _installed("cuda")),
    "torch-cuda": ("a PyTorch that sees the GPU", _torch_on_gpu),
    "cuda-provider": ("ONNX Runtime with CUDA", _cuda_provider),
    "onnxruntime": ("ONNX Runtime", lambda: _installed("onnxruntime")),
    "export": ("the extra export", lambda: _installed("onnxscript") and _installed("torch")),
    "pytest": ("pytest", lambda: _installed("pytest")),
}
"""What a step can need: how it is called, and whether it is here."""


def steps(places: Places) -> Sequence[Step]:
    """In the order in which they matter; all results are in the folder."""
    bundle, out = str(places.bundle), places.folder
    edge, python = (sys.executable, "-m", "vidtok_edge.cli"), sys.executable
    engines = ("gpu", "tensorrt", "cuda-bindings")
    full = places.full_width / "conv2d"
    return [
        Step(
            name="settings",
            does="power mode, clocks, temperatures, memory, driver against the reference",
            command=(*edge, "doctor", "--check"),
            expected_s=2,
            limit_s=30,
        ),
        Step(
            name="bundle",
            does="the shipped tokenizer at 256x256 in FP32, FP16 and INT8",
            command=(
                *(*edge, "export", "--variant", "fsq", "--form", "conv2d"),
                *("--precision", "fp32,fp16,int8", "--output", bundle),
            ),
            needs=("export",),
            expected_s=60,
            limit_s=180,
        ),
        Step(
            name="engines-fp16",
            does="engines in FP16, which end with a proof",
            command=(*edge, "build", bundle, "--target", "tensorrt", "--precision", "fp16"),
            needs=engines,
            after=("bundle",),
            expected_s=60,
            limit_s=240,
        ),
        Step(
            name="prove",
            does="the golden stream through every backend and precision that is here",
            command=(*edge, "prove", bundle),
            after=("bundle",),
            expected_s=15,
            limit_s=120,
            makes=("proof",),
        ),
        Step(
            name="prove-cuda",
            does="the same through ONNX Runtime's CUDA provider",
            command=(*edge, "prove", bundle, "--backend", "cuda"),
            needs=("gpu", "cuda-provider"),
            after=("bundle",),
            expected_s=15,
            limit_s=90,
            makes=("proof",),
        ),
        Step(
            name="bench",
            does="latency and throughput of engines in FP16",
            command=(
                *(*edge, "bench", bundle, "--backend", "tensorrt", "--precision", "fp16"),
                *("--decode", "--seconds", "10", "--json", str(out / "bench.json")),
            ),
            needs=engines,
            after=("engines-fp16",),
            expected_s=20,
            limit_s=60,
            makes=("bench.json",),
        ),
        Step(
            name="gpu-checks",
            does="our CUDA layer with PyTorch in TensorRT's place; PyTorch eager and compiled",
            command=(
                *(python, "benchmarks/gpu_checks.py", str(out / "gpu_checks.json")),
                *("--calls", "100", "--seconds", "80"),
            ),
            needs=("gpu", "cuda-bindings", "torch-cuda", "export"),
            expected_s=90,
            limit_s=120,
            makes=("gpu_checks.json",),
        ),
        Step(
            name="tests",
            does="the tests that need a GPU",
            command=(python, "-m", "pytest", "-q", "-m", "gpu", *GPU_TESTS),
            needs=("gpu", "pytest", "export"),
            expected_s=60,
            limit_s=150,
        ),
        Step(
            name="full-width",
            does="a full-width model at 256x256 with random weights, in FP16, not verified",
            command=(python, "benchmarks/full_width.py", str(full.parent), "--form", "conv2d"),
            needs=("export",),
            expected_s=40,
            limit_s=120,
        ),
        *(
            Step(
                name=f"layers-{kind}",
                does=f"the full-width {kind} in TensorRT, layer by layer",
                command=(
                    *(python, "benchmarks/tensorrt_layers.py", str(full / f"{kind}.fp16.onnx")),
                    *(str(out / f"layers-{kind}.json"), "--level", "2"),
                ),
                needs=(*engines, "torch-cuda"),
                after=("full-width",),
                expected_s=90,
                limit_s=240,
                makes=(f"layers-{kind}.json",),
            )
            for kind in ("encoder", "decoder")
        ),
        Step(
            name="engines-int8",
            does="engines in INT8, which end with a proof",
            command=(*edge, "build", bundle, "--target", "tensorrt", "--precision", "int8"),
            needs=engines,
            after=("bundle",),
            expected_s=90,
            limit_s=240,
            makes=("proof",),
        ),
    ]


def rehearsal(places: Places) -> Sequence[Step]:
    """The same steps where there is no GPU, small: the fake GPU of the tests takes its place.

    What builds or times on a GPU is left as it is, and so is not run for want of one.
    """
    small: Mapping[str, Mapping[str, object]] = {
        "bench": {
            "command": (
                *(sys.executable, "-m", "vidtok_edge.cli", "bench", str(places.bundle)),
                *("--backend", "cpu", "--precision", "fp32", "--seconds", "0.5", "--warmup", "0"),
                *("--json", str(places.folder / "bench.json")),
            ),
            "needs": ("onnxruntime",),
            "after": ("bundle",),
        },
        "gpu-checks": {
            "command": (
                *(sys.executable, "benchmarks/gpu_checks.py"),
                *(str(places.folder / "gpu_checks.json"), "--fake", "--size", "16"),
                *("--calls", "1", "--seconds", "1"),
            ),
            "needs": ("export",),
        },
        "full-width": {"needs": ("gpu", "export")},
        "bundle": {
            "command": (
                *(sys.executable, "-m", "vidtok_edge.cli", "export", "--variant", "fsq"),
                *("--size", "32x48", "--output", str(places.bundle)),
            ),
        },
    }
    return [replace(step, **small.get(step.name, {})) for step in steps(places)]  # type: ignore[arg-type]
