"""From the reference model to a verified bundle, and from a bundle to engines.

What builds engines needs neither torch nor onnx, and importing it does not bring them in: it runs
on a Jetson that has numpy and TensorRT.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidtok_edge.export.bundle_export import (
        Exported,
        ExportPlan,
        ExportRequest,
        export_bundle,
        plan_export,
    )
    from vidtok_edge.export.bundle_verify import verify_written
    from vidtok_edge.export.comparison import Comparison
    from vidtok_edge.export.engine_build import BuildRequest, build_engines, plan_engines
    from vidtok_edge.export.parity import ParityReport
    from vidtok_edge.export.step import StepOptions

__all__ = [
    "BuildRequest",
    "Comparison",
    "ExportPlan",
    "ExportRequest",
    "Exported",
    "ParityReport",
    "StepOptions",
    "build_engines",
    "export_bundle",
    "plan_engines",
    "plan_export",
    "verify_written",
]

_MODULES = {
    "BuildRequest": "engine_build",
    "Comparison": "comparison",
    "ExportPlan": "bundle_export",
    "ExportRequest": "bundle_export",
    "Exported": "bundle_export",
    "ParityReport": "parity",
    "StepOptions": "step",
    "build_engines": "engine_build",
    "export_bundle": "bundle_export",
    "plan_engines": "engine_build",
    "plan_export": "bundle_export",
    "verify_written": "bundle_verify",
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
