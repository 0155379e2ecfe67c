"""What an export leaves for devices to prove themselves with: how long, how large, of whom."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from document_tables import ROOT, Row, table_in
from narrow import narrow
from wrong_graphs import FAULTS, spoil

from vidtok_edge.export import golden_stream
from vidtok_edge.export.golden_stream import (
    Budget,
    given_by,
    make_golden,
    plan_stream,
    reference_stream,
)
from vidtok_edge.export.verifying.step_pair import StepPair
from vidtok_edge.lowering.facts import BOTH_FP32, facts_of, graph_spec
from vidtok_edge.lowering.interface import KINDS, interface_of
from vidtok_edge.lowering.numerics import FP32
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.manifest.graphs import FormName, Kind
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.reach import reach_in_latents
from vidtok_edge.runtime.proving.comparing import Comparison, limit_of
from vidtok_edge.runtime.proving.golden import ARRAYS, FACTS, GoldenStream
from vidtok_edge.runtime.proving.prove import prove, what_to_prove
from vidtok_edge.runtime.proving.running import decoded, encoded
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.variants import VARIANTS
from vidtok_edge.vidtok_ref import load_weights

if TYPE_CHECKING:
    from vidtok_edge.export import Exported

KL = "vidtok_kl_causal_288_8chn"
DELAYED = "vidtok_fsq_causal_488_32768_v1_1"
WINDOWS = "vidtok_fsq_noncausal_488_262144"

in_checkout = pytest.mark.skipif(
    not (ROOT / "docs/streaming.md").exists(), reason="the documents are those of a git checkout"
)


def reach_of(name: str, kind: Kind, form: FormName = "conv2d") -> int | None:
    variant = replace(VARIANTS[name], ch=2)
    options = StepOptions(
        variant.space_factor, variant.space_factor, form=form, chunk=StepOptions.chunk_for(variant)
    )
    graph = graph_spec(kind, options, FP32, interface_of(variant, options, kind))
    return reach_in_latents(graph, facts_of(variant))


@in_checkout
@pytest.mark.parametrize("row", table_in("docs/streaming.md", "1.2"), ids=lambda r: r["variant"])
def test_the_reach_is_that_of_the_document(row: Row) -> None:
    """The document's was found by NaN: one less would leave a state out, one more add none."""
    variant = VARIANTS[row["variant"]]
    if not variant.causal:
        assert reach_of(variant.name, "encoder") is None
        return
    first, last = (int(n) for n in row["decoder"].split(" to "))
    # A decoder's frames come out late by those that it looks ahead.
    assert reach_of(variant.name, "encoder") == int(row["encoder"].removeprefix("0 to "))
    assert reach_of(variant.name, "decoder") == (last - first) // variant.time_factor


@pytest.mark.parametrize("form", ["conv2d", "conv3d", "channels_last"])
def test_the_reach_does_not_depend_on_the_form(form: FormName) -> None:
    assert [reach_of(DELAYED, kind, form) for kind in KINDS] == [28, 47]


def a_manifest(name: str, chunk: int = 1) -> Manifest:
    return streams_of(name, chunk=chunk).manifest


def streams_of(name: str, *, chunk: int = 1, streams: int = 1, io: str = "uint8") -> TorchStreams:
    model = narrow(name, 16)
    chunk = chunk if model.variant.causal else StepOptions.chunk_for(model.variant)
    options = StepOptions(16, 16, chunk=chunk, streams=streams, io=io, form="conv2d")  # type: ignore[arg-type]
    return TorchStreams(model, options, BOTH_FP32)


def test_a_stream_is_a_reach_long_where_there_is_time() -> None:
    manifest = a_manifest(DELAYED)

    def plan(encoder_fits: int, decoder_fits: int) -> tuple[int, int, int]:
        made = plan_stream(
            manifest,
            encoder_reach=28,
            decoder_reach=47,
            encoder_fits=encoder_fits,
            decoder_fits=decoder_fits,
        )
        assert 0 < made.cut_frame < made.frames < 4 * made.latents
        assert 4 * (made.cut_latent - 1) < made.cut_frame <= 4 * made.cut_latent
        assert (made.frames - 1) % 4 == 2, "it ends with a tail"
        return made.latents, made.cut_latent, made.decoder_latents

    assert plan(1000, 1000) == (30, 4, 48)
    assert plan(12, 20) == (12, 4, 20)
    assert plan(0, 0) == (4, 2, 4), "a start, a steady state, a cut and a tail there always are"


def test_a_stream_of_windows_is_of_whole_windows() -> None:
    manifest = a_manifest(WINDOWS)
    for fits, windows in ((1000, 3), (0, 2)):
        made = plan_stream(
            manifest, encoder_reach=None, decoder_reach=None, encoder_fits=fits, decoder_fits=fits
        )
        assert made.latents == made.decoder_latents == 4 * windows
        assert made.frames == 16 * windows - 2 and made.cut_frame == 26


@pytest.mark.parametrize(
    ("name", "chunk", "streams", "io"),
    [
        (DELAYED, 1, 1, "uint8"),
        (DELAYED, 2, 2, "float"),
        (DELAYED, 3, 3, "uint8"),
        (KL, 1, 2, "uint8"),
        (WINDOWS, 4, 2, "uint8"),
    ],
)
def test_the_reference_passes_its_own_stream(
    name: str, chunk: int, streams: int, io: str, tmp_path: Path
) -> None:
    torch = streams_of(name, chunk=chunk, streams=streams, io=io)
    manifest, steps = torch.manifest, torch.steps
    pair = StepPair(steps["encoder"], steps["decoder"])
    golden = reference_stream(manifest, pair, Budget(encoder_s=0.0, decoder_s=0.0))
    golden.save(tmp_path)
    golden = GoldenStream.load(tmp_path, manifest)
    runs = {
        "encoder": encoded(manifest, pair.encoder, golden.frames()),
        "decoder": decoded(manifest, pair.decoder, golden.decoder_values()),
    }
    for kind in KINDS:
        metric = "tokens" if kind == "encoder" and golden.margin is not None else "dB"
        comparison = Comparison(
            golden=golden,
            manifest=manifest,
            kind=kind,
            run=runs[kind],
            limit=limit_of("fp32", metric, ()),  # type: ignore[arg-type]
            given=(),
        )
        assert comparison.differences() == []
        assert comparison.value == (1.0 if metric == "tokens" else pytest.approx(99.0, abs=40))
        assert comparison.runs_equal and comparison.slots_equal is (None if streams == 1 else True)
        assert len(runs[kind].again) > 0
    pictures = len(golden.samples)
    assert len(runs["decoder"].digests[0]) == pictures == len(golden.facts.pictures_sha256)


def test_means_are_halves_and_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = streams_of(KL)
    pair = StepPair(torch.steps["encoder"], torch.steps["decoder"])
    one = 2 * 8 * 2 * 2  # bytes of a latent: halves of 8 channels, 2x2
    monkeypatch.setattr(golden_stream, "_MOST_BYTES", 7 * one + 5)
    golden = reference_stream(torch.manifest, pair, Budget(encoder_s=1e9, decoder_s=0.0))
    assert golden.latents.shape == (7, 8, 2, 2) and golden.margin is None
    halves = golden.latents.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(golden.latents, halves)
    assert golden.facts.covered("encoder") == "7 latents, 7 of the 37 latents of its reach"


@pytest.mark.parametrize("name", [DELAYED, KL, WINDOWS])
def test_what_a_part_of_the_stream_gives_is_that_part_of_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs that give what the reference gives do so in each latent and picture, the last too."""
    torch = streams_of(name)
    pair = StepPair(torch.steps["encoder"], torch.steps["decoder"])
    monkeypatch.setattr(golden_stream, "reach_in_latents", lambda graph, model: 8)  # and quick
    golden = reference_stream(torch.manifest, pair, Budget(encoder_s=1e9, decoder_s=1e9))
    given = given_by(golden, torch.manifest, pair, Budget(given_s=0.0))
    causal = VARIANTS[name].causal
    assert len(given.encoder) == (golden.facts.cut_latent + 2 if causal else golden.facts.latents)
    assert len(given.decoder) < len(golden.samples) or not causal
    assert min(given.encoder) == (1.0 if golden.margin is not None else pytest.approx(70, abs=15))
    assert min(given.decoder) > 60
    whole = given_by(golden, torch.manifest, pair, Budget(given_s=1e9))
    assert len(whole.encoder) == golden.facts.latents
    assert len(whole.decoder) == len(golden.samples)
    assert whole.decoder[: len(given.decoder)] == given.decoder


@pytest.mark.xdist_group("precisions")
def test_an_export_leaves_a_stream_that_says_what_each_precision_gave(precisions: Exported) -> None:
    bundle = precisions.bundle
    golden = GoldenStream.load(bundle.path, bundle.manifest)
    given = {(g.precision, str(g.placement)): g for g in golden.facts.given}
    assert set(given) == {("fp16", "any"), ("int8", "onnxruntime"), ("int8", "tensorrt")}
    # How long it is, and what each precision gave of it, depends on how busy the machine was.
    latents, pictures = golden.facts.latents, len(golden.facts.pictures_sha256)
    least = golden.facts.cut_latent + 2
    framing = Framing.of(bundle.manifest.model)
    for one in given.values():
        assert one.library.startswith("onnxruntime ")
        assert least <= len(one.encoder) <= latents
        assert framing.first_frame(least) <= len(one.decoder) <= pictures
    assert np.mean(given["fp16", "any"].encoder) > 0.98
    assert np.mean(given["int8", "onnxruntime"].encoder) > 0.7
    assert golden.facts.reference.startswith("fp32, cpu on onnxruntime")
    size = sum((bundle.path / name).stat().st_size for name in (FACTS, ARRAYS))
    assert size < 300_000


@pytest.mark.xdist_group("precisions")
def test_every_precision_of_an_export_proves_itself(precisions: Exported) -> None:
    bundle = precisions.bundle
    wanted = what_to_prove(bundle, Backend.CPU)
    assert [precision for _, precision in wanted] == ["fp32", "fp16", "int8"]
    latents = GoldenStream.load(bundle.path, bundle.manifest).facts.latents
    for backend, precision in wanted:
        proof = prove(bundle, backend, precision, threads=1)
        assert proof, proof.differences
        assert proof.precision == precision and proof.encoder.calls == latents


@pytest.mark.xdist_group("precisions")
def test_a_layer_of_int8_that_saturates_is_seen(precisions: Exported, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(precisions.bundle.path, tmp_path / "bundle"))
    for kind in KINDS:
        spoil(folder, kind, FAULTS["saturates"], "int8")
    proof = prove(Bundle.load(folder), Backend.CPU, "int8", threads=1)
    told = [difference.text for difference in proof.differences]
    assert [text.split(" (")[0] for text in told] == [
        "encoder, latent 0",
        "decoder, picture 0 of latent 0",
    ]
    assert "of the tokens are the reference's; of all" in told[0] and "dB; over all" in told[1]
    assert prove(Bundle.load(folder), Backend.CPU, "fp16", threads=1), "the others are as before"


@pytest.mark.xdist_group("golden_bundle")
def test_without_fp32_graphs_pytorch_is_the_reference(golden_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden_bundle, tmp_path / "bundle"))
    bundle = Bundle.load(folder)
    before = GoldenStream.load(folder, bundle.manifest)
    fp16 = tuple(replace(graph, precision="fp16") for graph in bundle.manifest.graphs)
    renamed = replace(bundle.manifest, graphs=fp16)  # the same graphs, called otherwise
    model, _ = load_weights("fsq", None, 0)
    golden = make_golden(replace(bundle, manifest=renamed), model)
    assert golden.facts.reference.startswith("fp32, torch on torch")
    np.testing.assert_array_equal(golden.latents, before.latents)
    [given] = golden.facts.given
    assert given.precision == "fp16" and min(given.encoder) == 1.0 and min(given.decoder) > 50
