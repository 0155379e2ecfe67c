"""Manifests: what is written is read, and whatever else is there is refused in words."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from fake_step import fake_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtok_edge.errors import (
    BundleError,
    BundlePathEscapes,
    BundleSchemaUnknown,
    EngineMissing,
)
from vidtok_edge.runtime.manifest.graphs import DType, Placement, TensorSpec
from vidtok_edge.runtime.manifest.manifest import Manifest

manifests = st.builds(
    fake_manifest,
    f=st.sampled_from([2, 4, 8]),
    causal=st.booleans(),
    version=st.sampled_from(["1.0", "1.1"]),
    chunk=st.integers(1, 4),
    streams=st.integers(1, 4),
    latent=st.sampled_from(["fsq", "kl"]),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from(["../x", "/etc/passwd", "\0", "\ud800", "fsq", "kl", "1.1", "uint8", 0, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def loaded(value: object) -> Manifest:
    return Manifest.from_json(json.dumps(value))


def changed(path: list[Any], value: object) -> Any:
    """The JSON of a manifest with one field replaced."""
    document = json.loads(fake_manifest().to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@given(manifests)
def test_round_trip(manifest: Manifest) -> None:
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.to_json() == manifest.to_json()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path to a field or item of a JSON document."""
    if not isinstance(value, dict | list):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inner = [place for key, item in items for place in places(item, (*path, key))]
    return [path, *inner] if path else inner


@pytest.mark.slow
@settings(max_examples=400)
@given(manifests, st.data())
def test_a_mangled_manifest_raises_bundle_errors_only(
    manifest: Manifest, data: st.DataObject
) -> None:
    document = json.loads(manifest.to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        *path, key = data.draw(st.sampled_from(places(document)))
        place = document
        for step in path:
            place = place[step]
        if data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = data.draw(json_values | st.just(copy.deepcopy(place[key])))
    try:
        result = loaded(document)
    except BundleError as error:
        str(error).encode()  # can be printed
        assert len(str(error)) < 1000
    else:
        assert result.to_json()
        for kind in ("encoder", "decoder"):  # what was accepted can be used
            if any(g.kind == kind for g in result.graphs):
                assert result.graph(kind).cache_bytes >= 0


@given(st.text(max_size=200) | json_values.map(json.dumps))
def test_any_text_raises_bundle_errors_only(text: str) -> None:
    with pytest.raises(BundleError):
        Manifest.from_json(text)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"schema":' * 5000, "1" * 5000])
def test_what_is_not_json(text: str) -> None:
    with pytest.raises(BundleError, match="Export the bundle again"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("schema", "shown"), [(1, "1"), (0, "0"), ("1", "unknown"), (None, "unknown"), ([], "unknown")]
)
def test_an_unknown_schema(schema: object, shown: str) -> None:
    with pytest.raises(BundleSchemaUnknown, match=f"has schema {shown}; this toolkit reads 2"):
        loaded(changed(["schema"], schema))


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "a\\b", "C:x", "a/../../x", "", "a\0b", "a/", "~/x y", "a" * 300, "\u2215x"],
)
@pytest.mark.parametrize("field", ["file", "data_file"])
def test_a_path_out_of_the_bundle(field: str, name: str) -> None:
    with pytest.raises(BundlePathEscapes, match="no plain path inside the bundle"):
        loaded(changed(["graphs", 1, field], name))


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["height"], 0, "height: expected 1 or more, got 0"),
        (["model", "time_factor"], -4, "time_factor: expected 1 or more"),
        (["model", "levels"], [], r"levels: \(\) do not fit a fsq model"),
        (["model", "latent"], "kl", r"levels: \(8, .* do not fit a kl model"),
        (["model", "levels", 0], 1, "do not fit a fsq model"),
        (["streams"], 2, "expected frames uint8|a cache of the encoder changes"),
        (["chunk"], 3, r"the encoder has frames .*, expected frames uint8 \[1, 12, 8, 8, 3\]"),
        (["io"], "float", "has frames uint8 .*, expected frames float32"),
        (["model", "causal"], False, r"the encoder has unknown inputs: \['start'\]"),
        (["model", "version"], "1.0", r"the decoder has unknown inputs: \['end'\]"),
        (
            ["graphs", 0, "outputs", 0, "name"],
            "token",
            "the encoder has no tokens, expected tokens",
        ),
        (["graphs", 0, "inputs", 2, "name"], "start", "the encoder has two tensors of one name"),
        (["graphs", 0, "inputs", 2, "name"], "cache_7", "caches of the encoder do not pair up"),
        (["graphs", 0, "inputs", 2, "shape"], [1, 2], "changes its shape or type: cache_000"),
        (["graphs", 0, "inputs", 2, "dtype"], "float16", "changes its shape or type"),
        (["graphs", 0, "inputs", 2, "shape"], [1, 0], "impossible tensor: cache_000"),
        (["graphs", 0, "inputs", 2, "shape"], [1, 2**40], "impossible tensor"),
        (["graphs", 0, "precision"], "fp64", "graphs\\[0\\].precision: expected 'fp32'"),
        (["verified"], "yes", "verified: expected bool, got 'yes'"),
        (["graphs", 0, "precision"], "int8", "int8 placed for any; expected a backend"),
        (["graphs", 0, "placement"], "tensorrt", "fp32 placed for tensorrt; .* any for the others"),
        (["graphs", 0, "work_int8_permille"], 1001, "expected 0 to 1000, got 1001"),
        (["graphs", 1, "kind"], "encoder", "two graphs of one name|the encoder has"),
    ],
)
def test_facts_that_do_not_fit_together(path: list[Any], value: object, sentence: str) -> None:
    with pytest.raises(BundleError, match=f"manifest.json: .*({sentence}).*Export"):
        loaded(changed(path, value))


def test_a_graph_that_is_absent() -> None:
    manifest = fake_manifest()
    only = replace(manifest, graphs=manifest.graphs[:1])
    assert only.graph("encoder", "fp32").kind == "encoder"
    with pytest.raises(
        BundleError, match=r"no decoder graph in any precision; it has encoder\.fp3"
    ):
        only.graph("decoder")
    with pytest.raises(BundleError, match="no encoder graph in int4"):
        only.graph("encoder", "int4")


def test_no_engine_is_built_of_channels_last() -> None:
    manifest = fake_manifest()
    graphs = tuple(replace(graph, form="channels_last") for graph in manifest.graphs)
    fp16 = tuple(replace(graph, precision="fp16") for graph in manifest.graphs)
    both = replace(manifest, graphs=(*graphs, *fp16))
    assert both.graph("encoder").form == "channels_last"
    assert both.graph("encoder", "fp16", Placement.TENSORRT).form == "conv2d"
    for precision in ("fp32", None):  # None is the first one, never another in its place
        with pytest.raises(EngineMissing, match=r"encoder\.fp32\.onnx: its form.*--form conv2d"):
            both.graph("encoder", precision, Placement.TENSORRT)


def test_facts_that_follow() -> None:
    manifest = fake_manifest(chunk=3, streams=2)
    assert (manifest.grid, manifest.chunk_frames) == ((1, 1), 12)
    assert manifest.model.codebook_size == 8**5
    assert fake_manifest(latent="kl").model.codebook_size == 0
    encoder = manifest.graph("encoder")
    assert [s.name for s in encoder.host_inputs] == ["frames", "start", "ready"]
    assert [s.name for s in encoder.host_outputs] == ["tokens"]
    assert [(a.name, b.name) for a, b in encoder.caches] == [("cache_000", "new_cache_000")]
    assert encoder.cache_bytes == 8


@pytest.mark.parametrize("dtype", get_args(DType))
def test_every_dtype_has_a_size(dtype: DType) -> None:
    spec = TensorSpec("x", dtype, (2, 3))
    assert spec.nbytes % 6 == 0
    assert str(spec) == f"x {dtype} [2, 3]"
