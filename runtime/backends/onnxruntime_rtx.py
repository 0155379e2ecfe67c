"""TensorRT-RTX as a provider of ONNX Runtime: a plugin, NVIDIA's onnxruntime-ep-nv-tensorrt-rtx.

Unverified on hardware: it follows the documents and the source of its version 0.5, which loads
nowhere without a driver, and is tested on a stand-in. It compiles a graph when a session is made,
and keeps nothing; the whole graph must be its own, so that caches stay in memory of the device.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import onnxruntime as ort

from vidtok_edge.runtime.backends.gpu import Obstacle, gpu_obstacle
from vidtok_edge.runtime.backends.onnxruntime_messages import reason_of

__all__ = ["rtx_device", "rtx_library", "rtx_session"]

_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_INSTALL = (
    'Install it with: pip install "onnxruntime>=1.28" onnxruntime-ep-nv-tensorrt-rtx (on CUDA 12: '
    "onnxruntime-ep-nv-tensorrt-rtx-cu12), without onnxruntime-gpu beside it"
)
_OLDEST = (1, 28)
"""ONNX Runtime whose Python holds values in memory of a plugin; by the sources of its wheels."""


def rtx_session(path: Path, options: Any) -> tuple[Any, str]:
    """A session that runs all of a graph on the GPU, or None and why not."""
    device, why = rtx_device()
    if device is None:
        return None, why
    # Else what TensorRT-RTX does not take would run on the CPU without a word.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices([device], {})
    try:
        return ort.InferenceSession(str(path), options), ""
    except Exception as error:  # ORT raises bare Exception subclasses of its own
        return None, f"{reason_of(error)} (all of a graph must run there)"


def rtx_device() -> tuple[Any, str]:
    """The first GPU that the plugin can use, or None and why there is none.

    It loads the plugin, which links libraries in its own folder and extends LD_LIBRARY_PATH.
    """
    if tuple(int(part) for part in re.findall(r"\d+", ort.__version__)[:2]) < _OLDEST:
        why = f"onnxruntime {ort.__version__} holds no values in memory of a plugin"
        return None, str(Obstacle(why, _INSTALL))
    if (obstacle := gpu_obstacle()) is not None:  # without a driver it does not load
        return None, str(obstacle)
    if importlib.util.find_spec(_PLUGIN) is None:
        return None, str(Obstacle(f"{_PLUGIN} is not installed", _INSTALL))
    try:
        plugin = importlib.import_module(_PLUGIN)
        name = plugin.get_ep_name()
        if not _devices(name):  # a host program may have registered it
            ort.register_execution_provider_library(name, plugin.get_library_path())
    except Exception as error:  # as above; and what the loader says of its libraries
        return None, str(Obstacle(f"{_PLUGIN} does not load: {reason_of(error)}", _INSTALL))
    if not (devices := _devices(name)):
        why = f"{name} finds no GPU that it supports"
        return None, str(Obstacle(why, "It needs Ampere (RTX 30) or later"))
    return devices[0], ""


def rtx_library() -> str:
    """Name and version of the plugin; it is installed."""
    return f"{_PLUGIN} {importlib.import_module(_PLUGIN).__version__}"


def _devices(name: str) -> list[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == name]
