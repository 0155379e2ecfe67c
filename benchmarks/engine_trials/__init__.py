"""Trials of TensorRT: one graph in many forms, written, built and timed; see `trials.py`."""
