"""What steps need of the machine, and what to do where it is missing."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from gpu_run.step import Need
from vidtok_edge.errors import VidTokEdgeError
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
def _torch_cuda() -> str:
    if missing := _package("torch", "install PyTorch for the CUDA of this machine (pytorch.org)"):
        return missing
    from vidtok_edge.lowering.torch_cuda import require_torch_cuda

    try:
        require_torch_cuda()
    except VidTokEdgeError as error:
        return str(error)
    return ""


@functools.cache
def _ort_cuda() -> str:
    remedy = 'pip install "vidtok-edge[gpu]"'
    if missing := _package("onnxruntime", remedy):
        return missing
    from vidtok_edge.runtime.backends.onnxruntime_cuda import CUDA, cuda_obstacle
    from vidtok_edge.runtime.backends.onnxruntime_loading import load_onnxruntime

    try:
        providers = load_onnxruntime().get_available_providers()
    except ImportError as error:
        return f"onnxruntime does not load: {error}"
    if CUDA not in providers:
        return f"this ONNX Runtime is one for the CPU; {remedy}"
    return str(cuda_obstacle() or "")


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
TENSORRT_RTX = Need("TensorRT-RTX", lambda: _engines("tensorrt_rtx", "tensorrt-rtx"))


def checkout(root: Path) -> Need:
    """The tests of a checkout, and what runs them."""

    def missing() -> str:
        if not (root / "tests").is_dir():
            return f"{root} has no folder tests; run in a checkout"
        return _package("pytest", "pip install pytest")

    return Need("the tests of a checkout", missing)
