"""Latency and throughput that can be believed: what `vidtok-edge bench` runs. numpy alone."""
