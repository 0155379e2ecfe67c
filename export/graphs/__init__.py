"""ONNX step graphs: written, simplified, and held to their rules."""
