"""Streaming VidTok video tokenizers: export to ONNX and TensorRT, and a torch-free runtime."""

import os

__all__ = ["__version__"]

__version__ = "0.2.0"

# ONNX Runtime from 1.29 on keeps a number of this machine in the home folder, and sends events to
# its maker, unless this is set before it is imported (docs/trust.md).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
