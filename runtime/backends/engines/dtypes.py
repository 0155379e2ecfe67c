"""The types of tensors that step graphs have, by TensorRT's names for them."""

from __future__ import annotations

from collections.abc import Mapping

from vidtok_edge.runtime.manifest.graphs import DType

__all__ = ["DTYPES"]

DTYPES: Mapping[str, DType] = {
    "FLOAT": "float32",
    "HALF": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "BOOL": "bool",
}
