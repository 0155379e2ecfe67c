"""INT8: calibration on live streams, ranges, which layers run in it, and what that costs."""

from vidtok_edge.calib.int8 import default_int8

__all__ = ["default_int8"]
