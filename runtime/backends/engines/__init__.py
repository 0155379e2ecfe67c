"""Engines that TensorRT compiled: their sidecars, and the backend that runs them."""
