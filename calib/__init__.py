"""INT8: calibration on live streams, ranges, which layers run in it, and what that costs."""
