"""Why ONNX Runtime's CUDA provider does not start here (unverified with a GPU)."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import io
import re
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort

from vidtok_edge.runtime.backends.gpu import Obstacle, gpu_obstacle
from vidtok_edge.runtime.backends.onnxruntime_messages import reason_of

__all__ = [
    "CUDA",
    "absent_provider",
    "cuda_obstacle",
    "cuda_session",
    "obstacle_of_error",
    "obstacle_of_fallback",
    "preload_cuda",
]

CUDA = "CUDAExecutionProvider"
_DISTRIBUTION = "onnxruntime-gpu"
_EXTRA = "vidtok-edge[gpu]"
_INSTALL = f'pip install "{_EXTRA}"'

_IDENTITY = (  # y = x of one float; IR version 9, opset 20
    b'\x08\t:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04'
    b"\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x14"
)


@functools.cache
def preload_cuda() -> None:
    """Load the CUDA libraries of NVIDIA's packages, which the loader does not find by itself.

    Once, and quietly: it prints what it does not find, most of which may be absent. ONNX Runtime
    looks beside itself; the packages may lie elsewhere in Python's path, as those of PyTorch.
    """
    if not hasattr(ort, "preload_dlls"):  # since 1.21
        return
    for folder in (None, *_library_folders()):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(OSError, RuntimeError):
            ort.preload_dlls(directory=folder)


def _library_folders() -> list[str]:
    """Of NVIDIA's packages that are not beside ONNX Runtime."""
    found = importlib.util.find_spec("nvidia")
    places = [] if found is None else [Path(it) for it in found.submodule_search_locations or ()]
    beside = Path(ort.__file__).resolve().parents[1]
    elsewhere = [place for place in places if place.resolve().parent != beside]
    return [str(folder) for place in elsewhere for folder in sorted(place.glob("*/lib"))]


def cuda_session(graph: str | bytes, options: Any, providers: list[Any]) -> tuple[Any, str]:
    """A session, and what ONNX Runtime printed where it fell back: "" where it printed nothing.

    It prints the error of a provider to the standard output, and goes on without the provider.
    """
    preload_cuda()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        session = ort.InferenceSession(graph, options, providers=providers)
    said = re.search(r"EP Error (.*?)( when using |$)", printed.getvalue(), re.DOTALL)
    return session, "" if said is None else reason_of(said[1])


def cuda_obstacle() -> Obstacle | None:
    """Why CUDA does not start, or None: a graph of one node is tried. Silences ONNX Runtime's log.

    The log's level is a setting of the process: this is for commands, not for a host program.
    """
    if CUDA not in ort.get_available_providers():
        return absent_provider()
    ort.set_default_logger_severity(4)
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session, said = cuda_session(_IDENTITY, options, [CUDA, "CPUExecutionProvider"])
    except Exception as error:  # ORT raises bare Exception subclasses of its own
        return obstacle_of_error(reason_of(error))
    finally:
        ort.set_default_logger_severity(2)  # its default
    return None if CUDA in session.get_providers() else obstacle_of_fallback(said)


def absent_provider() -> Obstacle:
    """Of a build of ONNX Runtime without CUDA."""
    why = f"not in this build of ONNX Runtime ({CUDA})"
    if _installed(_DISTRIBUTION):
        return Obstacle(
            f"{why}: {_DISTRIBUTION} is installed, but the package onnxruntime lies over it",
            f"Uninstall both: pip uninstall onnxruntime {_DISTRIBUTION}; then: {_INSTALL}",
        )
    return Obstacle(why, f"Install it with: {_INSTALL}")


def obstacle_of_error(reason: str) -> Obstacle:
    """Of a session that raised: ONNX Runtime's reason, and the machine's where it has one."""
    machine = gpu_obstacle()
    if machine is None:
        return Obstacle(reason, "Look at nvidia-smi, or use the backend cpu")
    return Obstacle(f"{reason}: {machine.why}", machine.remedy)


def obstacle_of_fallback(said: str) -> Obstacle:
    """Of a session that came back without CUDA, and said why or did not.

    Only after such a session: the library of the provider crashes where it is loaded before ONNX
    Runtime itself has prepared it.
    """
    if said:
        return obstacle_of_error(said)
    found = [obstacle for obstacle in (_library_obstacle(), gpu_obstacle()) if obstacle]
    if not found:
        why = "ONNX Runtime does not start it, though its library loads and there is a GPU"
        return Obstacle(why, "Read what ONNX Runtime wrote to the standard error")
    whys = " and ".join(obstacle.why for obstacle in found)
    return Obstacle(whys, ". ".join(obstacle.remedy for obstacle in found))


def _library_obstacle() -> Obstacle | None:
    """Why the provider's library does not load; None where it does, or lacks the driver alone."""
    windows = sys.platform == "win32"
    name = "onnxruntime_providers_cuda.dll" if windows else "libonnxruntime_providers_cuda.so"
    library = Path(ort.__file__).parent / "capi" / name
    if not library.is_file():
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        if "libcuda.so" in str(error):  # the driver's, of which gpu_obstacle speaks
            return None
        return Obstacle(f"its library does not load ({error})", _libraries_remedy())
    return None


def _libraries_remedy() -> str:
    version = getattr(ort, "cuda_version", "") or "that it was built for"
    here = f"the CUDA {version} and cuDNN libraries"
    if not _installed(_DISTRIBUTION):  # built from source, or for a Jetson
        return f"Install {here} where the loader finds them (LD_LIBRARY_PATH)"
    wanted = _wanted_packages()
    if not wanted:
        return f'Install {here}, or a build that brings them: pip install --upgrade "{_EXTRA}"'
    if absent := [package for package in wanted if not _installed(package)]:
        return f"Install {', '.join(absent)} with: {_INSTALL}"
    return f"Install {here} again: pip install --force-reinstall {' '.join(wanted)}"


def _wanted_packages() -> list[str]:
    """NVIDIA's packages that the extras of onnxruntime-gpu ask for; none before 1.21."""
    from importlib import metadata  # takes 14 ms, and is needed where CUDA fails

    wanted = []
    for line in metadata.requires(_DISTRIBUTION) or []:
        if re.search(r"""extra\s*==\s*["'](cuda|cudnn)["']""", line):
            wanted += re.findall(r"^[\w.-]+", line)
    return wanted


def _installed(distribution: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
