"""The TensorRT of this machine, classic or RTX: imported when asked for, and what it can do."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

from vidtok_edge.errors import BackendUnavailable, MissingDependency, UsageError
from vidtok_edge.export.tensorrt_api import TensorRT
from vidtok_edge.runtime.engine_sidecar import TARGETS, EngineHost, Target
from vidtok_edge.runtime.gpu import Gpu, present_gpu

__all__ = [
    "build_hosts",
    "builds_ahead",
    "collected_log",
    "gpu_targets",
    "load_tensorrt",
    "tensorrt_version",
]

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_OLDEST = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 0)}
_JETSON = {"sm87": "Jetson Orin", "sm101": "Jetson Thor", "sm110": "Jetson Thor"}
_WARNING = 2  # of ILogger.Severity: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose


def load_tensorrt(target: str) -> TensorRT:
    """The module of `target`.

    Raises:
        UsageError: no such target.
        MissingDependency: it is not installed.
        BackendUnavailable: it is installed and does not load, or is too old.
    """
    if target not in TARGETS:
        raise UsageError(f"There is no target {target!r}; use {' or '.join(TARGETS)}.")
    module = _MODULES[target]
    try:
        library = cast(TensorRT, importlib.import_module(module))
    except (ImportError, OSError) as error:  # OSError: one of the libraries that it loads
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise _missing(target, module) from None
        raise BackendUnavailable(
            f"{module} is installed but does not load: {error}. {_repair(target)}"
        ) from error
    found = tensorrt_version(library)
    if _numbers(found) < _OLDEST[target]:
        oldest = ".".join(map(str, _OLDEST[target]))
        raise BackendUnavailable(
            f"{module} {found} is older than {oldest}, the oldest that is supported. "
            "On a Jetson that is JetPack 6.1; elsewhere: "
            f'pip install --upgrade "vidtok-edge[{target}]"'
        )
    return library


def tensorrt_version(library: TensorRT) -> str:
    """As `10.3.0`."""
    return library.__version__


def builds_ahead(library: TensorRT) -> bool:
    """Whether it builds for GPUs that are not present: TensorRT-RTX."""
    return hasattr(library, "ComputeCapability")


def gpu_targets(library: TensorRT) -> tuple[str, ...] | None:
    """The GPUs that can be built for ahead of time, as `sm86`; None: only the one present."""
    if not hasattr(library, "ComputeCapability"):
        return None
    names = library.ComputeCapability.__members__
    found = [name.lower() for name in names if re.fullmatch(r"SM\d+", name)]
    return tuple(sorted(found, key=lambda name: int(name[2:])))


def build_hosts(
    target: Target, library: TensorRT, gpus: Sequence[str], present: Gpu | None = None
) -> list[EngineHost]:
    """What engines are to be built for: the GPUs asked for, or none asked for, the one present.

    Raises:
        UsageError: `library` cannot build for a GPU asked for, or none is asked for and present.
        BackendUnavailable: classic TensorRT, which builds on the GPU itself, finds none.
    """
    present = present or present_gpu()
    wanted = list(dict.fromkeys(map(_gpu_name, gpus)))
    possible = gpu_targets(library)
    if possible is None:
        return [_present_host(target, library, wanted, present)]
    if not wanted:
        if present is None:
            raise UsageError(
                "No GPU is present, so the ones to build for must be named: "
                f"--gpu {','.join(possible)}, or some of these."
            )
        wanted = [present.architecture]
    for gpu in wanted:
        if gpu not in possible:
            raise UsageError(_impossible(gpu, library, possible))
    return [_host(target, library, gpu, "") for gpu in wanted]


def _present_host(
    target: Target, library: TensorRT, wanted: Sequence[str], present: Gpu | None
) -> EngineHost:
    if present is None:
        raise BackendUnavailable(
            "TensorRT builds on the GPU that will run the engine, and no GPU was found here "
            "(libcuda.so.1 is missing, or shows none). Copy the bundle to the device and build "
            "there, or build ahead of time with: --target tensorrt-rtx --gpu sm86"
        )
    if other := [gpu for gpu in wanted if gpu != present.architecture]:
        raise UsageError(
            f"TensorRT builds only for the GPU that is present, {present.architecture} "
            f"({present.name}), not for {', '.join(other)}. Leave out --gpu, build on that "
            "device, or use --target tensorrt-rtx."
        )
    return _host(target, library, present.architecture, present.name)


def _host(target: Target, library: TensorRT, gpu: str, name: str) -> EngineHost:
    machine = f"{platform.system()} {platform.machine()}"
    return EngineHost(target, tensorrt_version(library), gpu, name, machine)


def _gpu_name(text: str) -> str:
    """`sm86` from sm86, SM86, 86 or 8.6."""
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no GPU architecture; write it as sm86.")
    return f"sm{match[1]}{match[2]}"


def _impossible(gpu: str, library: TensorRT, possible: Sequence[str]) -> str:
    what = f"TensorRT-RTX {tensorrt_version(library)} cannot build for {gpu}"
    if gpu in _JETSON:
        return (
            f"{what}: it has no {_JETSON[gpu]} target. Copy the bundle to the device and build "
            "it there with: vidtok-edge build BUNDLE --target tensorrt"
        )
    return f"{what}, only for {', '.join(possible)}."


def _missing(target: str, module: str) -> MissingDependency | BackendUnavailable:
    if target == "tensorrt" and platform.machine() == "aarch64":
        return BackendUnavailable(
            "TensorRT is not installed for this Python. On a Jetson it comes with JetPack, for "
            "the system's Python: sudo apt install python3-libnvinfer, then make the virtual "
            "environment with: python3 -m venv --system-site-packages (docs/jetson.md)"
        )
    return MissingDependency(module, target, "Building engines")


def _repair(target: str) -> str:
    if target == "tensorrt" and platform.machine() == "aarch64":
        return (
            "On a Jetson install JetPack's libraries with: sudo apt install nvidia-jetpack; in a "
            "container, start it with: --runtime nvidia"
        )
    return f'Install it again with: pip install --force-reinstall "vidtok-edge[{target}]"'


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


# --- log --------------------------------------------------------------------------------------


@contextmanager
def collected_log(library: TensorRT) -> Iterator[tuple[Any, list[str]]]:
    """A logger of `library`, and what it says meanwhile: errors and warnings, in order.

    There is one logger per process: TensorRT keeps the first that it gets and ignores others.
    """
    logger = _logger(library.ILogger)
    logger.messages.clear()
    yield logger, logger.messages


@cache
def _logger(base: Any) -> Any:
    class Collector(base):  # type: ignore[misc]  # a class known when it runs
        def __init__(self) -> None:
            base.__init__(self)  # pybind11: not through super()
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= _WARNING:
                self.messages.append(message.strip())

    return Collector()
