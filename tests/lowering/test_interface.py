"""Interfaces found without weights: what the caches cost, and how control inputs look."""

from __future__ import annotations

from dataclasses import replace

import pytest
from document_tables import Row, both_of, table_in
from export_helpers import PUBLISHED

from vidtok_edge.errors import UnsupportedSize, UsageError
from vidtok_edge.lowering.forms import FORMS, FormName
from vidtok_edge.lowering.interface import KINDS, Interface, interface_of
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime.manifest.graphs import CALL_BEFORE, TensorSpec
from vidtok_edge.variants import EMBEDDED, VARIANTS
from vidtok_edge.vidtok_ref.checkpoint import shapes_of


def options_for(
    name: str, streams: int = 1, chunk: int = 1, form: FormName = "conv2d"
) -> StepOptions:
    chunk = chunk if VARIANTS[name].causal else StepOptions.chunk_for(VARIANTS[name])
    return StepOptions(32, 64, streams=streams, chunk=chunk, form=form)


def caches(interface: Interface) -> list[TensorSpec]:
    return [spec for spec in interface.inputs if spec.name.startswith("cache_")]


def named(specs: tuple[TensorSpec, ...]) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in specs}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", table_in("docs/streaming.md", "4.5"), ids=lambda r: r["variant"])
def test_caches_are_those_of_the_document(row: Row, form: FormName) -> None:
    """docs/streaming.md, section 4.5: number of caches, and MB in fp16 at 256x256."""
    variant = VARIANTS[row["variant"]]
    counts, megabytes = both_of(row["caches"]), both_of(row["cache MB"])
    options = StepOptions(256, 256, form=form)
    for kind, count, size in zip(KINDS, counts, megabytes, strict=True):
        found = caches(interface_of(variant, options, kind))
        flags = [spec for spec in found if spec.dtype == "bool"]
        # `second`, which the table leaves out: one bool per slot of a v1.1 decoder.
        assert [spec.shape for spec in flags] == [(1, 1)] * (variant.delayed and kind == "decoder")
        floats = [spec for spec in found if spec.dtype == "float32"]
        assert len(floats) + len(flags) == len(found)
        assert len(floats) == count
        assert abs(sum(spec.nbytes for spec in floats) / 2 / 1e6 - size) <= 0.5 + 1e-6


@pytest.mark.parametrize("name", [*PUBLISHED, EMBEDDED.name])
def test_three_slots_of_every_variant(name: str) -> None:
    variant = VARIANTS[name]
    for kind in KINDS:
        interface = interface_of(variant, options_for(name, 3), kind)
        inputs, new, old = named(interface.inputs), named(interface.outputs), caches(interface)
        assert ("start" in inputs) == ("ready" in inputs) == variant.causal
        assert ("end" in inputs) == (variant.delayed and variant.causal and kind == "decoder")
        assert bool(old) == variant.causal
        assert [spec.name for spec in old] == sorted(spec.name for spec in old)
        assert sum(n.startswith("new_cache_") for n in new) == len(old)
        for spec in old:
            pair = new["new_" + spec.name]
            assert (pair.dtype, pair.shape) == (spec.dtype, spec.shape)
            assert spec.shape[0] == 3


@pytest.mark.parametrize("name", [n for n in PUBLISHED if VARIANTS[n].causal])
def test_a_cache_says_whose_past_it_is(name: str) -> None:
    """A cache [B, frames, C, h, w] has the channels that its layer's kernel takes."""
    variant = VARIANTS[name]
    kernels = {key: shape for key, shape in shapes_of(variant).items() if len(shape) in (3, 5)}
    for kind in KINDS:
        interface = interface_of(variant, options_for(name), kind)
        layers, old = interface.cache_layers, caches(interface)
        assert len(layers) == len(old) == len(set(layers))
        delayed = kind == "decoder" and variant.delayed
        assert (CALL_BEFORE in layers) == delayed
        for layer, spec in zip(layers, old, strict=True):
            if layer == CALL_BEFORE:
                assert spec.dtype == "bool"
                continue
            [kernel] = [shape for key, shape in kernels.items() if key.startswith(layer + ".")]
            _, frames, channels, *_ = spec.shape
            assert channels == kernel[1]
            # What interpolates keeps one frame, what halves the frames too.
            one = ("downsample", "upsample") + (() if variant.delayed else ("upsample.conv",))
            assert frames == (1 if layer.endswith(one) else 2)


def test_the_encoder_of_an_fsq_variant() -> None:
    name = "vidtok_fsq_causal_488_32768_v1_1"
    interface = interface_of(VARIANTS[name], options_for(name, chunk=2), "encoder")
    assert interface.inputs[:2] == (
        TensorSpec("frames", "uint8", (1, 8, 32, 64, 3)),
        TensorSpec("start", "bool", (1, 1)),
    )
    assert interface.outputs[:2] == (
        TensorSpec("tokens", "int32", (1, 2, 4, 8)),
        TensorSpec("latent", "float32", (1, 2, 5, 4, 8)),
    )
    assert interface.inputs[2].name == "cache_000"


def test_the_decoder_of_a_kl_variant_with_slots() -> None:
    name = "vidtok_kl_causal_488_16chn_v1_1"
    interface = interface_of(VARIANTS[name], options_for(name, 3, 2), "decoder")
    assert interface.inputs[:4] == (
        TensorSpec("latent", "float32", (3, 2, 16, 4, 8)),
        TensorSpec("start", "bool", (3, 1)),
        TensorSpec("end", "bool", (3, 2)),  # per latent: a stream may end inside a call
        TensorSpec("ready", "bool", (3, 1)),
    )
    assert interface.outputs[0] == TensorSpec("frames", "uint8", (3, 8, 32, 64, 3))


def test_a_window_has_no_state() -> None:
    name = "vidtok_kl_noncausal_488_4chn"
    options = replace(options_for(name), io="float")
    encoder = interface_of(VARIANTS[name], options, "encoder")
    assert encoder.inputs == (TensorSpec("frames", "float32", (1, 16, 32, 64, 3)),)
    shape = (1, 4, 4, 4, 8)
    assert encoder.outputs == (
        TensorSpec("mean", "float32", shape),
        TensorSpec("logvar", "float32", shape),
    )


@pytest.mark.parametrize("name", ["vidtok_kl_causal_488_4chn", "vidtok_kl_causal_488_4chn_v1_1"])
def test_one_slot_is_always_ready(name: str) -> None:
    for kind in KINDS:
        inputs = named(interface_of(VARIANTS[name], options_for(name), kind).inputs)
        assert "start" in inputs and "ready" not in inputs


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (StepOptions(30, 64), UnsupportedSize, "multiples of 8, got 30x64"),
        (StepOptions(32, 64, streams=0), UsageError, "--streams must be 1 or more, got 0"),
        (StepOptions(32, 64, chunk=0), UsageError, "--chunk must be 1 or more, got 0"),
    ],
)
def test_options_that_cannot_be_lowered(
    options: StepOptions, error: type[UsageError], match: str
) -> None:
    with pytest.raises(error, match=match):
        interface_of(VARIANTS["vidtok_kl_causal_488_4chn"], options, "encoder")


def test_a_window_has_one_length() -> None:
    with pytest.raises(UsageError, match="windows of 16 frames, so --chunk can only be 4, got 1"):
        interface_of(VARIANTS["vidtok_kl_noncausal_488_4chn"], StepOptions(32, 64), "encoder")
