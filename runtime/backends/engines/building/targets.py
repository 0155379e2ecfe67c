"""What the TensorRT of this machine can build for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.library import host_of, tensorrt_version
from vidtok_edge.runtime.backends.engines.sidecar import EngineHost
from vidtok_edge.runtime.backends.gpu import Gpu, present_gpu

__all__ = ["build_hosts", "builds_ahead", "gpu_targets"]

_JETSON = {"sm87": "Jetson Orin", "sm101": "Jetson Thor", "sm110": "Jetson Thor"}


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
    return [host_of(target, library, gpu, "") for gpu in wanted]


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
    return host_of(target, library, present.architecture, present.name)


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
