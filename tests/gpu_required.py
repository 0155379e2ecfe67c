"""Which tests a machine with a GPU must run: those of the backends that it is said to have.

VIDTOK_EDGE_REQUIRE_GPU=1: a `gpu` test that is skipped has failed. VIDTOK_EDGE_REQUIRE_GPU=cuda,
tensorrt: only those of these backends, and those of none; a Jetson has no TensorRT-RTX.
"""

from __future__ import annotations

import pytest

__all__ = ["BACKENDS", "ENGINES", "REQUIRE", "must_run", "required_backends"]

REQUIRE = "VIDTOK_EDGE_REQUIRE_GPU"
_NAMES = ("cuda", "tensorrt", "tensorrt-rtx")

BACKENDS = [pytest.param(name, marks=pytest.mark.gpu(name)) for name in _NAMES]
"""Parameters of a test, each marked with its backend."""
ENGINES = BACKENDS[1:]


def required_backends(value: str) -> tuple[str, ...]:
    """The backends that the variable's `value` names; empty: none is required."""
    if value in ("", "0"):
        return ()
    names = _NAMES if value == "1" else tuple(name.strip() for name in value.split(","))
    if unknown := set(names) - set(_NAMES):
        raise pytest.UsageError(
            f"{REQUIRE}={value} names {', '.join(sorted(unknown))}; use 1, or some of "
            f"{', '.join(_NAMES)}, with commas."
        )
    return names


def must_run(item: pytest.Item, required: tuple[str, ...]) -> bool:
    """Whether `item` may not be skipped where there are the backends `required`."""
    marker = item.get_closest_marker("gpu")
    if marker is None or not required:
        return False
    return not marker.args or marker.args[0] in required
