"""ONNX Runtime, imported; where it is installed and does not load, the reason in words."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from importlib import import_module
from typing import Any

__all__ = ["load_onnxruntime"]

_NUMPY_1 = "compiled using NumPy 1.x"


def load_onnxruntime() -> Any:
    """The package `onnxruntime`.

    Raises:
        ModuleNotFoundError: it, or what it needs, is not installed.
        ImportError: it is installed and does not load; its text is the reason, on one line.
    """
    said = io.StringIO()  # NumPy prints a page and raises an error without a text
    try:
        with redirect_stderr(said):
            return import_module("onnxruntime")
    except ModuleNotFoundError:
        raise
    except Exception as error:  # a broken install fails in many ways
        raise ImportError(_reason(error, said.getvalue())) from error


def _reason(error: Exception, said: str) -> str:
    if _NUMPY_1 in said or "_ARRAY_API" in str(error):
        from importlib import metadata  # takes 14 ms

        return (
            f"it was built for NumPy 1, and NumPy {metadata.version('numpy')} is installed "
            "(ONNX Runtime 1.19 and later take both)"
        )
    return " ".join(str(error).split()) or type(error).__name__
