"""Graphs that compute something else, as an engine might that was compiled wrongly.

Each fault is one edit of an ONNX file; the manifest then has its hashes, so that it loads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime.bundle import MANIFEST
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.manifest.manifest import Manifest

__all__ = ["FAULTS", "spoil"]

Fault = Callable[[ModelProto], None]


def spoil(folder: Path, kind: Kind, fault: Fault, precision: str | None = None) -> None:
    """Put `fault` into a graph of the bundle in `folder`; into the first where none is named."""
    manifest = Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
    graph = manifest.graph(kind, precision)
    path, data = folder / graph.file, folder / graph.data_file
    model = onnx.load(path)
    fault(model)
    data.unlink()
    convert_model_to_external_data(model, location=data.name, size_threshold=1024)
    onnx.save(model, path)
    if not data.exists():
        data.write_bytes(b"")
    spoilt = replace(graph, sha256=sha256_of(path), data_sha256=sha256_of(data))
    graphs = tuple(spoilt if g == graph else g for g in manifest.graphs)
    text = replace(manifest, graphs=graphs).to_json()
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def weights_of_another_layer(model: ModelProto) -> None:
    """Swap the weights of two convolutions of one shape."""
    weights = [
        tensor
        for tensor in model.graph.initializer
        if len(tensor.dims) == 4 and np.prod(tensor.dims) > 1000
    ]
    a, b = next(
        (a, b)
        for i, a in enumerate(weights)
        for b in weights[i + 1 :]
        if list(a.dims) == list(b.dims)
    )
    values = numpy_helper.to_array(a), numpy_helper.to_array(b)
    a.CopyFrom(numpy_helper.from_array(values[1], a.name))
    b.CopyFrom(numpy_helper.from_array(values[0], b.name))


def a_cache_of_another(model: ModelProto) -> None:
    """Let two layers read each other's cache."""
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
        if value.name.startswith("cache_")
    }
    a, b = next((a, b) for a in shapes for b in shapes if a < b and shapes[a] == shapes[b])
    _rename_uses(model, {a: b, b: a})


def start_swapped(model: ModelProto) -> None:
    """Take a start for none, and every other call for one."""
    _rename_uses(model, {"start": "no_start"})
    model.graph.node.insert(0, helper.make_node("Not", ["start"], ["no_start"]))


def ready_ignored(model: ModelProto) -> None:
    """Let slots that have no chunk take part: every one is as slot 0 is."""
    _rename_uses(model, {"ready": "always"})
    always = np.ones((2, 1), np.bool_)
    model.graph.initializer.append(numpy_helper.from_array(always, "always"))


def one_layer_saturates(model: ModelProto) -> None:
    """Cut off what a convolution in the middle gives, as an INT8 range that is too small does."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    node = convolutions[len(convolutions) // 2]
    result, place = node.output[0], list(model.graph.node).index(node)
    node.output[0] = f"{result}_whole"
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("lowest", -0.02), ("highest", 0.02))
    )
    clip = helper.make_node("Clip", [node.output[0], "lowest", "highest"], [result])
    model.graph.node.insert(place + 1, clip)


def _rename_uses(model: ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)


FAULTS = {
    "weights": weights_of_another_layer,
    "cache": a_cache_of_another,
    "start": start_swapped,
    "ready": ready_ignored,
    "saturates": one_layer_saturates,
}
