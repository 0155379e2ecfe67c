"""What builds engines runs on a device that has numpy and TensorRT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vidtok_edge.runtime.backends.engines import building


def test_what_builds_engines_imports_without_torch_onnx_and_tensorrt() -> None:
    assert building.__file__ is not None
    modules = [path.stem for path in Path(building.__file__).parent.glob("[!_]*.py")]
    assert len(modules) > 5
    absent = ["torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "av", "PIL", "safetensors"]
    absent += ["tensorrt", "tensorrt_rtx", "vidtok_edge.vidtok_ref"]
    imports = ", ".join(f"{building.__name__}.{name}" for name in modules)
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}));import {imports}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
