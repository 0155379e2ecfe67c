"""What this machine has, what it lacks, and the line that installs it. Imports none of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.runtime.backends.gpu import present_gpu

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
    # distributions (any of them), purpose, extra
    (("numpy",), "the runtime", ""),
    (("av",), "reads and writes clips", "video"),
    (("pillow",), "contact sheets", "video"),
    (("torch",), "the reference model and export", "export"),
    (("onnx",), "export", "export"),
    (("onnxscript",), "export", "export"),
    (("onnx-ir",), "export", "export"),
    (("safetensors",), "weights", "export"),
    (("matplotlib",), "the plot of calibrate", "export"),
    (("huggingface-hub",), "official weights", "hub"),
    (("mcap",), "recordings", "record"),
    (("lz4",), "recordings that other tools compressed", "record"),
    (("zstandard",), "recordings that other tools compressed", "record"),
    (("pyarrow",), "recordings as LeRobot datasets", "datasets"),
    (("rerun-sdk",), "the Rerun viewer", "view"),
    (("nvidia-ml-py",), "power and clocks of NVIDIA GPUs in bench", "meters"),
    (("tensorrt", "tensorrt-cu12", "tensorrt-cu13"), "TensorRT engines on the GPU", "tensorrt"),
    (
        ("tensorrt-rtx", "tensorrt-rtx-cu12"),
        "TensorRT-RTX engines, also without a GPU",
        "tensorrt-rtx",
    ),
    (("cuda-bindings",), "calls of CUDA, to run engines", "tensorrt"),
)


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
        import onnxruntime as ort  # the one import: only it knows its providers
    except Exception as error:  # a broken install fails in many ways
        reason = f"installed, but fails to import: {error}"
        again = 'pip install --force-reinstall "vidtok-edge[ort]"  (or [gpu] for CUDA)'
        return [Finding("onnxruntime", "", f"runs bundles ({reason})", again, needed=True)]
    cpu = "CPUExecutionProvider"
    found = cpu if cpu in ort.get_available_providers() else ""
    install = 'pip install "vidtok-edge[ort]"'
    return [
        Finding("onnxruntime", ort.__version__, "runs bundles", needed=True),
        Finding("backend cpu", found, "ONNX Runtime provider", install),
        _cuda(ort.get_available_providers()),
    ]


def _cuda(providers: list[str]) -> Finding:
    """Found where a session starts: that the provider is built in says little."""
    from vidtok_edge.runtime.backends.onnxruntime_cuda import CUDA, cuda_obstacle

    if CUDA not in providers and not _version("onnxruntime-gpu"):
        install = 'pip install "vidtok-edge[gpu]"'
        return Finding("backend cuda", "", "ONNX Runtime provider", install)
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
    for names, purpose, extra in _PACKAGES:
        found = next((text for name in names if (text := _version(name))), "")
        install = f'pip install "vidtok-edge[{extra}]"' if extra else ""
        if _JETSON.is_file():
            install = _ON_JETSON.get(names[0], install)
        findings.append(Finding(names[0], found, purpose, install))
    return findings


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
