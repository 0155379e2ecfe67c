"""What this machine has, what it lacks, and the line that installs it. Imports none of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.backends.gpu import present_gpu
from vidtok_edge.runtime.backends.onnxruntime_loading import load_onnxruntime
from vidtok_edge.runtime.extras import extra_with, extras

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for. Truthy where it is there."""

    name: str
    found: str
    """Version or description; empty where it is absent."""
    purpose: str
    install: str = ""
    needed: bool = False
    """Without it nothing runs."""

    def __bool__(self) -> bool:
        return bool(self.found)


_PACKAGES = (
    # distributions (any of them), purpose; the extra is found in the metadata
    (("numpy",), "the runtime"),
    (("av",), "reads and writes clips"),
    (("pillow",), "contact sheets"),
    (("torch",), "the reference model and export"),
    (("onnx",), "export, and the layers of compare"),
    (("onnxscript",), "export"),
    (("onnx-ir",), "export"),
    (("safetensors",), "weights"),
    (("matplotlib",), "the plot of calibrate"),
    (("huggingface-hub",), "official weights"),
    (("mcap",), "recordings"),
    (("lz4",), "recordings compressed with LZ4"),
    (("zstandard",), "compresses recordings"),
    (("pyarrow",), "recordings as LeRobot datasets and Parquet"),
    (("rerun-sdk",), "the Rerun viewer"),
    (("openvino",), "FP32 on the CPU, faster on some"),
    (("nvidia-ml-py",), "power and clocks of NVIDIA GPUs in bench"),
    (("tensorrt", "tensorrt-cu12", "tensorrt-cu13"), "TensorRT engines on the GPU"),
    (("tensorrt-rtx", "tensorrt-rtx-cu12"), "TensorRT-RTX engines, also without a GPU"),
    (("cuda-bindings",), "calls of CUDA, to run engines"),
)
_install = MissingDependency.install_line
_OF_BACKENDS = ("onnxruntime", "onnxruntime-gpu")


_JETSON = Path("/etc/nv_tegra_release")
_ON_JETSON = {  # no wheel of TensorRT fits, which the extras ask for
    "tensorrt": "sudo apt install python3-libnvinfer",
    "tensorrt-rtx": "there is none for a Jetson",
    "cuda-bindings": 'pip install "cuda-bindings<13"  (<14 where CUDA is 13)',
}


def examine() -> list[Finding]:
    """Everything that `vidtok-edge doctor` reports, backends first."""
    return [*_backends(), *_packages(), *_machine()]


def _backends() -> list[Finding]:
    line = 'pip install "vidtok-edge[ort]"  (or [gpu] for CUDA)'
    if importlib.util.find_spec("onnxruntime") is None:
        return [Finding("onnxruntime", "", "runs bundles", line, needed=not _runs_engines())]
    try:
        ort = load_onnxruntime()  # the one import: only it knows its providers
    except ImportError as error:
        reason = f"installed, but does not load: {error}"
        again = 'pip install --upgrade --force-reinstall "vidtok-edge[ort]"  (or [gpu] for CUDA)'
        return [Finding("onnxruntime", "", f"runs bundles ({reason})", again, needed=True)]
    cpu = "CPUExecutionProvider"
    found = cpu if cpu in ort.get_available_providers() else ""
    install = _install("ort")
    return [
        Finding("onnxruntime", ort.__version__, "runs bundles", needed=True),
        Finding("backend cpu", found, "ONNX Runtime provider", install),
        _cuda(ort.get_available_providers()),
    ]


def _cuda(providers: list[str]) -> Finding:
    """Found where a session starts: that the provider is built in says little."""
    from vidtok_edge.runtime.backends.onnxruntime_cuda import CUDA, cuda_obstacle

    if CUDA not in providers and not _version("onnxruntime-gpu"):
        return Finding("backend cuda", "", "ONNX Runtime provider", _install("gpu"))
    obstacle = cuda_obstacle()
    if obstacle is None:
        return Finding("backend cuda", CUDA, "ONNX Runtime provider")
    return Finding("backend cuda", "", "ONNX Runtime provider", str(obstacle))


def _runs_engines() -> bool:
    """Whether engines could be run here, without ONNX Runtime."""
    installed = importlib.util.find_spec("cuda") is not None and any(
        importlib.util.find_spec(name) is not None for name in ("tensorrt", "tensorrt_rtx")
    )
    return installed and present_gpu() is not None


def _packages() -> list[Finding]:
    findings = []
    for names, purpose in (*_PACKAGES, *_others()):
        found = next((text for name in names if (text := _version(name))), "")
        extra = extra_with(names[0])
        install = _install(extra) if extra else f"pip install {names[0]}"
        if _JETSON.is_file():
            install = _ON_JETSON.get(names[0], install)
        findings.append(Finding(names[0], found, purpose, install))
    return findings


def _others() -> list[tuple[tuple[str, ...], str]]:
    """What extras bring, and the table above does not say what for."""
    known = {*_OF_BACKENDS, *(name for names, _ in _PACKAGES for name in names)}
    brought = dict.fromkeys(name for names in extras().values() for name in names)
    return [((name,), f"the extra {extra_with(name)}") for name in brought if name not in known]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _machine() -> list[Finding]:
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    release = _JETSON.read_text(encoding="utf-8").splitlines()[0] if _JETSON.is_file() else ""
    return [
        Finding("machine", system, ""),
        Finding("NVIDIA GPU", _gpu(), "engines and CUDA", "install the NVIDIA driver"),
        Finding("Jetson", release, "L4T release"),
    ]


def _gpu() -> str:
    """Names, driver and memory as `nvidia-smi` tells, else what CUDA says, or nothing."""
    if told := _nvidia_smi():
        return told
    gpu = present_gpu()  # some Jetsons have no nvidia-smi, or one that fails
    return "" if gpu is None else f"{gpu.name}, {gpu.architecture}"


def _nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        result = subprocess.run(
            [program, *query], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(result.stdout.split("\n")).strip("; ")
