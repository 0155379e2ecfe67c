"""The TensorRT of this machine, classic or RTX: imported when asked for."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

from vidtok_edge.errors import BackendUnavailable, MissingDependency
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.sidecar import EngineHost

__all__ = ["collected_log", "host_of", "load_tensorrt", "tensorrt_version"]

_WARNING = 2  # of ILogger.Severity: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose


def load_tensorrt(target: Target) -> TensorRT:
    """The module of `target`.

    Raises:
        MissingDependency: it is not installed.
        BackendUnavailable: it is installed and does not load, or is too old.
    """
    module = target.module
    try:
        library = cast(TensorRT, importlib.import_module(module))
    except (ImportError, OSError) as error:  # OSError: one of the libraries that it loads
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise _missing(target, module) from None
        raise BackendUnavailable(
            f"{module} is installed but does not load: {error}. {_repair(target)}"
        ) from error
    found = tensorrt_version(library)
    if _numbers(found) < target.oldest:
        oldest = ".".join(map(str, target.oldest))
        raise BackendUnavailable(
            f"{module} {found} is older than {oldest}, the oldest that is supported. "
            "On a Jetson that is JetPack 6.1; elsewhere: "
            f'pip install --upgrade "vidtok-edge[{target}]"'
        )
    return library


def tensorrt_version(library: TensorRT) -> str:
    """As `10.3.0`."""
    return library.__version__


def host_of(target: Target, library: TensorRT, gpu: str, name: str) -> EngineHost:
    """Engines of `target` for `gpu`, as built or run on this machine."""
    machine = f"{platform.system()} {platform.machine()}"
    return EngineHost(
        target=target, version=tensorrt_version(library), gpu=gpu, gpu_name=name, platform=machine
    )


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


def _missing(target: Target, module: str) -> MissingDependency | BackendUnavailable:
    if target is Target.TENSORRT and platform.machine() == "aarch64":
        return BackendUnavailable(
            "TensorRT is not installed for this Python. On a Jetson it comes with JetPack, for "
            "the system's Python: sudo apt install python3-libnvinfer, then make the virtual "
            "environment with: python3 -m venv --system-site-packages (docs/quickstart/jetson.md)"
        )
    return MissingDependency(module, target, "Building engines")


def _repair(target: Target) -> str:
    if target is Target.TENSORRT and platform.machine() == "aarch64":
        return (
            "On a Jetson install JetPack's libraries with: sudo apt install nvidia-jetpack; in a "
            "container, start it with: --runtime nvidia"
        )
    return f'Install it again with: pip install --force-reinstall "vidtok-edge[{target}]"'


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
