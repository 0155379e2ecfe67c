"""What steps need of the machine, and what to do where it is missing."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from gpu_run.step import Need
from vidtok_edge.runtime.backends.gpu import gpu_obstacle, present_gpu

__all__ = [
    "BINDINGS",
    "EXPORT",
    "GPU",
    "GRAPHS",
    "ORT_CUDA",
    "TENSORRT",
    "TENSORRT_RTX",
    "TORCH_CUDA",
    "checkout",
]


ASKED_S = 60
"""For a library to say whether it sees the GPU."""
_ASK_TORCH = """
from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.lowering.torch_cuda import require_torch_cuda
try:
    require_torch_cuda()
except VidTokEdgeError as error:
    print(error)
"""
_ASK_ORT = """
from vidtok_edge.runtime.backends.onnxruntime_cuda import CUDA, cuda_obstacle
from vidtok_edge.runtime.backends.onnxruntime_loading import load_onnxruntime
if CUDA not in load_onnxruntime().get_available_providers():
    print('this ONNX Runtime is one for the CPU; pip install "vidtok-edge[gpu]"')
else:
    print(cuda_obstacle() or "")
"""
_ASK_RTX = """
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building.targets import gpu_targets
from vidtok_edge.runtime.backends.engines.library import load_tensorrt
from vidtok_edge.runtime.backends.gpu import present_gpu
gpu, targets = present_gpu(), gpu_targets(load_tensorrt(Target.TENSORRT_RTX))
if gpu is not None and gpu.architecture not in targets:
    print(f"it builds for {', '.join(targets)}, and this GPU is {gpu.architecture}")
"""


def _package(module: str, remedy: str) -> str:
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        found = False
    return "" if found else f"the module {module} is not installed; {remedy}"


@functools.cache
def _gpu() -> str:
    if present_gpu() is not None:
        return ""
    return str(gpu_obstacle() or "the NVIDIA driver does not name its GPU. Look at nvidia-smi")


_WRITING = ("torch", "onnx", "onnxscript", "onnxruntime", "safetensors")
"""Modules that a graph is written with; verifying a bundle reads clips besides."""


def _export(modules: tuple[str, ...], also: str = "") -> str:
    remedy = f'pip install "vidtok-edge[export]"{also}'
    return next(filter(None, (_package(module, remedy) for module in modules)), "")


@functools.cache
def _told(code: str) -> str:
    """What `code` prints in a process of its own: libraries of GPUs may end the one they are in."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASKED_S, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"it does not start within {ASKED_S} s"
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        return f"it does not load: {said[-1]}"
    return done.stdout.strip()


def _torch_cuda() -> str:
    remedy = "install PyTorch for the CUDA of this machine (pytorch.org)"
    return _package("torch", remedy) or _told(_ASK_TORCH)


def _ort_cuda() -> str:
    return _package("onnxruntime", 'pip install "vidtok-edge[gpu]"') or _told(_ASK_ORT)


def _engines(module: str, extra: str) -> str:
    remedy = f'pip install "vidtok-edge[{extra}]"'
    return _package(module, remedy) or _package("cuda.bindings", remedy)


GPU = Need("a GPU", _gpu)
EXPORT = Need(
    "the extra `export`", lambda: _export((*_WRITING, "av"), ", or name a bundle with --bundle")
)
GRAPHS = Need("what writes graphs, of the extra `export`", lambda: _export(_WRITING))
TORCH_CUDA = Need("PyTorch for CUDA", _torch_cuda)
ORT_CUDA = Need("ONNX Runtime for CUDA", _ort_cuda)
BINDINGS = Need("cuda-bindings", lambda: _package("cuda.bindings", "pip install cuda-bindings"))
TENSORRT = Need("TensorRT", lambda: _engines("tensorrt", "tensorrt"))
TENSORRT_RTX = Need(
    "TensorRT-RTX", lambda: _engines("tensorrt_rtx", "tensorrt-rtx") or _told(_ASK_RTX)
)


def checkout(root: Path) -> Need:
    """The tests of a checkout, and what runs them."""

    def missing() -> str:
        if not (root / "tests").is_dir():
            return f"{root} has no folder tests; run in a checkout"
        packages = {"pytest": "pytest", "hypothesis": "hypothesis", "xdist": "pytest-xdist"}
        found = (_package(name, f"pip install {package}") for name, package in packages.items())
        return next(filter(None, found), "")

    return Need("the tests of a checkout", missing)
