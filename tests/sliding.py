"""A hand-made graph with a sliding cache, as ONNX text that a test can change."""

from __future__ import annotations

import onnx
from onnx import ModelProto

__all__ = ["SLIDING", "sliding_graph"]

SLIDING = """
<ir_version: 9, opset_import: ["" : 20]>
sliding (float[1, 1] x, bool[1, 1] start, float[1, 2] cache_000)
    => (float[1, 3] y, float[1, 2] new_cache_000)
<float zero = {0}, int64[1] one = {1}, int64[1] three = {3}>
{
  past = Where (start, zero, cache_000)
  joined = Concat <axis = 1> (past, x)
  y = Identity(joined)
  new_cache_000 = Slice (joined, one, three, one)
}
"""
"""`y` is the last three values of `x`, of which the cache holds two."""


def sliding_graph(text: str = SLIDING) -> ModelProto:
    return onnx.parser.parse_model(text)
