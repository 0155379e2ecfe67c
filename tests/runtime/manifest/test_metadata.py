"""The metadata of a graph: what is written into an ONNX file says all that the manifest says."""

from __future__ import annotations

import re

import pytest
from fake_step import fake_manifest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.errors import BundleError
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.metadata import GraphMetadata

manifests = st.builds(
    fake_manifest,
    f=st.sampled_from([2, 4, 8]),
    causal=st.booleans(),
    version=st.sampled_from(["1.0", "1.1"]),
    latent=st.sampled_from(["fsq", "kl"]),
)


@given(manifests, st.sampled_from(["encoder", "decoder"]))
def test_round_trip(manifest: Manifest, kind: Kind) -> None:
    written = GraphMetadata.of(manifest, manifest.graph(kind))
    strings = written.to_map()
    read = GraphMetadata.from_map({**strings, "of another tool": "x"})
    assert read == written and read.model == manifest.model
    assert read.model.delayed == manifest.model.delayed
    assert all(isinstance(value, str) for value in strings.values())


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("causal", "yes", "model.causal: expected bool, got 'yes'"),
        ("levels", "8,x", "model.levels[1]: expected int, got 'x'"),
        ("chunk", None, "chunk is missing"),
        ("precision", "int4", "precision: expected 'fp32' or"),
        ("version", "2", "model.version"),
    ],
)
def test_what_is_no_metadata_is_told(name: str, value: str | None, sentence: str) -> None:
    manifest = fake_manifest()
    strings = GraphMetadata.of(manifest, manifest.graph("decoder")).to_map()
    name = f"vidtok_edge.{name}"
    del strings[name]
    with pytest.raises(BundleError, match=f"does not say what it is: {re.escape(sentence)}"):
        GraphMetadata.from_map(strings if value is None else strings | {name: value})
