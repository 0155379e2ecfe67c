"""The package shows its names without importing what they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vidtok_edge import export

MODULES = ["engine_build", "engine_files", "engine_network", "precision_proof", "engine_targets"]


@pytest.mark.parametrize("name", export.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(export, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'build_engine'"):
        _ = export.build_engine


def test_what_builds_engines_imports_without_torch_onnx_and_tensorrt() -> None:
    absent = ["torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "av", "PIL", "safetensors"]
    absent += ["tensorrt", "tensorrt_rtx", "vidtok_edge.vidtok_ref"]
    imports = ", ".join(f"vidtok_edge.export.{name}" for name in MODULES)
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}));import {imports}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
