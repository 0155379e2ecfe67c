"""Engines from step graphs, on the device or ahead of time; without torch and onnx."""

from vidtok_edge.runtime.backends.engines.building.build import (
    BuildRequest,
    build_engines,
    plan_engines,
)

__all__ = ["BuildRequest", "build_engines", "plan_engines"]
