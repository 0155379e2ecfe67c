"""Streaming VidTok video tokenizers: export to ONNX and TensorRT, and a torch-free runtime."""

__all__ = ["__version__"]

__version__ = "0.2.0"
