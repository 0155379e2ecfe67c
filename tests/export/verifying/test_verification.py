"""A verification passes where it should, and a broken bundle never passes."""

from __future__ import annotations

import json
import math
import shutil
from concurrent.futures import CancelledError
from copy import deepcopy
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from narrow import narrow
from numpy.typing import NDArray

from vidtok_edge.errors import CheckpointError, EngineMissing
from vidtok_edge.export import (
    Comparison,
    ParityReport,
    bundle_verify,
    verify_written,
)
from vidtok_edge.export.verifying import lossy, verification
from vidtok_edge.export.verifying.step_pair import StepPair, open_pair
from vidtok_edge.export.verifying.verification import verify_bundle
from vidtok_edge.lowering.facts import BOTH_FP32
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime import Bundle, Picture, StreamDecoder
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.onnxruntime import OnnxRuntimeStep
from vidtok_edge.runtime.manifest.graphs import Placement
from vidtok_edge.vidtok_ref import VidTok, load_weights

pytestmark = pytest.mark.xdist_group("embedded")


@pytest.fixture(scope="module")
def model() -> VidTok:
    return load_weights("fsq", None)[0]


def failing(bundle: Bundle, model: VidTok) -> set[str]:
    """What fails, by the first word of its name, without the chunk plans."""
    report = verify_bundle(bundle, model, chunk_plans=False)
    assert bool(report) == (not report.failures)
    return {c.name.split()[0] for c in report.failures}


def changed(model: VidTok, key: str) -> VidTok:
    """A copy with one number of one parameter changed."""
    copy = deepcopy(model)
    with torch.no_grad():
        copy.state_dict()[key].view(-1)[0] += 0.5
    return copy


def test_an_export_is_verified_with_every_comparison(embedded: Bundle) -> None:
    report = json.loads((embedded.path / "reports" / "parity.json").read_text())
    assert report["passed"]
    assert {c["name"] for c in report["comparisons"] if c["passed"]} == {
        *(
            f"{kind} {clip}, streamed"
            for kind in ("encode", "decode")
            for clip in ("noise", "clip")
        ),
        *(f"{kind} a prefix" for kind in ("encode", "decode")),
        *(
            f"{kind}, chunks of {plan} latents"
            for kind in ("encode", "decode")
            for plan in ("1+2+1", "2+1+1")
        ),
    }
    assert "cpu on onnxruntime" in report["backend"]


def test_the_same_weights_pass(embedded: Bundle, model: VidTok) -> None:
    assert failing(embedded, model) == set()


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_another_weight_in_the_reference_fails(kind: str, embedded: Bundle, model: VidTok) -> None:
    other = changed(model, f"{kind}.conv_out.conv.bias")
    assert kind.removesuffix("r") in failing(embedded, other)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_another_weight_in_the_file_fails(
    kind: str, embedded: Bundle, model: VidTok, tmp_path: Path
) -> None:
    folder = shutil.copytree(embedded.path, tmp_path / "bundle")
    graph = folder / f"{kind}.fp32.onnx"
    tensors = onnx.load_model(graph, load_external_data=False).graph.initializer
    weight = next(t for t in tensors if t.name.endswith("mid.block_1.conv1.conv.kernels.weights.0"))
    place = {entry.key: entry.value for entry in weight.external_data}
    data = np.memmap(
        graph.with_name(place["location"]), np.float32, "r+", int(place["offset"]), (1,)
    )
    data += 1
    data.flush()
    assert failing(Bundle.load(folder), model) == {kind.removesuffix("r")}


def test_a_graph_that_ignores_its_start_fails(
    embedded: Bundle, model: VidTok, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxRuntimeStep.run

    def run_without_start(step: OnnxRuntimeStep) -> None:
        step.inputs["start"][:] = False
        run(step)

    monkeypatch.setattr(OnnxRuntimeStep, "run", run_without_start)
    assert failing(embedded, model) >= {"encode", "decode"}


def test_a_graph_that_forgets_its_caches_fails(
    embedded: Bundle, model: VidTok, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxRuntimeStep.run

    def run_with_start(step: OnnxRuntimeStep) -> None:
        step.inputs["start"][:] = True
        run(step)

    monkeypatch.setattr(OnnxRuntimeStep, "run", run_with_start)
    assert failing(embedded, model) >= {"encode", "decode"}


def test_caches_that_are_lost_between_chunk_plans_fail(
    embedded: Bundle, model: VidTok, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = OnnxRuntimeStep.caches
    monkeypatch.setattr(
        OnnxRuntimeStep,
        "caches",
        lambda step: {name: np.zeros_like(value) for name, value in caches(step).items()},
    )
    report = verify_bundle(embedded, model)
    plans = {
        f"{kind}, chunks of {plan} latents"
        for kind in ("encode", "decode")
        for plan in ("1+2+1", "2+1+1")
    }
    assert {c.name for c in report.failures} == plans


@pytest.mark.parametrize("dropped", [-1, 3])
def test_a_decoder_that_drops_a_frame_fails(
    dropped: int, embedded: Bundle, model: VidTok, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_values = StreamDecoder.push_values

    def push_fewer(decoder: StreamDecoder, values: NDArray[Any], **rest: Any) -> list[Picture]:
        pictures = push_values(decoder, values, **rest)
        del pictures[dropped]
        return pictures

    monkeypatch.setattr(StreamDecoder, "push_values", push_fewer)
    report = verify_bundle(embedded, model, chunk_plans=False)
    assert "frames lost or added" in {c.metric for c in report.failures}


def test_a_bundle_that_was_written_earlier(
    embedded: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_plans = partial(verify_bundle, chunk_plans=False)
    monkeypatch.setattr(bundle_verify, "verify_bundle", without_plans)
    folder = shutil.copytree(embedded.path, tmp_path / "bundle")
    bundle = Bundle.load(folder)
    assert verify_written(bundle)
    assert Bundle.load(folder).manifest == embedded.manifest
    facts = json.loads((folder / "manifest.json").read_text())
    facts["weights"]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(
        CheckpointError, match=r"those of the bundle 000000000000\. Export it again"
    ):
        verify_written(Bundle.load(folder))


@pytest.mark.parametrize("backend", [Backend.TENSORRT, Backend.TENSORRT_RTX])
def test_a_backend_without_an_engine_leaves_the_verdict(
    embedded: Bundle, tmp_path: Path, backend: Backend
) -> None:
    folder = shutil.copytree(embedded.path, tmp_path / "bundle")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(EngineMissing, match="No engine is built of encoder"):
        verify_written(Bundle.load(folder), None, backend)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("value", "passes"),
    [(0.0, True), (1.0, True), (1.001, False), (math.inf, False), (math.nan, False)],
)
def test_a_comparison_passes_up_to_its_limit(value: float, passes: bool) -> None:
    comparison = Comparison(name="decode", metric="max |difference|", value=value, limit=1.0)
    assert bool(comparison) == passes
    assert str(comparison).endswith("ok" if passes else "FAILED")
    report = ParityReport(
        "a", "b", (Comparison(name="encode", metric="tokens", value=0, limit=0), comparison)
    )
    assert bool(report) == passes
    assert report.failures == (() if passes else (comparison,))
    assert ("FAILED" in report.table()) == (not passes)


def test_a_report_of_nothing_does_not_pass() -> None:
    assert not ParityReport("a", "b", ())


def test_a_report_can_be_read_back(tmp_path: Path) -> None:
    comparisons = (
        Comparison(name="encode", metric="tokens", value=1, limit=0, note="of 9"),
        Comparison(name="decode", metric="max", value=0.5, limit=1.0),
    )
    ParityReport("a", "b", comparisons).write(
        tmp_path / "reports" / "parity.json", [("torch", "2")]
    )
    stored = json.loads((tmp_path / "reports" / "parity.json").read_text())
    assert (stored["passed"], stored["variant"], stored["torch"]) == (False, "a", "2")
    passed = [entry.pop("passed") for entry in stored["comparisons"]]
    assert passed == [False, True]
    assert tuple(Comparison(**entry) for entry in stored["comparisons"]) == comparisons


def test_what_is_judged_beside_the_rest_ends_with_it() -> None:
    """The first is running when the rest fails; the second is never begun."""
    begun: list[str] = []
    running = Event()
    streams = SimpleNamespace(stop=Event())

    def judge(graphs: Any) -> Any:
        begun.append(graphs[0])
        running.set()
        assert streams.stop.wait(60)

    with (
        pytest.raises(KeyboardInterrupt),
        verification._beside(judge, [("fp16", Placement.ANY), ("int8", Placement.ANY)], streams),  # type: ignore[arg-type]
    ):
        assert running.wait(60)
        raise KeyboardInterrupt
    assert begun == ["fp16"]


def test_a_stream_that_is_stopped_gives_nothing(tiny: Path) -> None:
    bundle, stop = Bundle.load(tiny), Event()
    stop.set()
    frames = np.zeros((5, bundle.manifest.height, bundle.manifest.width, 3), np.uint8)
    with open_pair(bundle, Backend.CPU) as pair, pytest.raises(CancelledError):
        lossy._stream(bundle.manifest, pair, frames, stop)


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("name", ["vidtok_kl_causal_288_8chn", "vidtok_fsq_causal_488_32768_v1_1"])
def test_a_start_over_used_caches_is_two_calls_of_any_chunk(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = TorchStreams(narrow(name, 8), StepOptions(8, 16, chunk=chunk), BOTH_FP32)
    encoder, decoder = streams.steps.values()
    calls, run = list[int](), encoder.run

    def counted() -> None:
        calls.append(1)
        run()

    monkeypatch.setattr(encoder, "run", counted)
    pair = StepPair(encoder, decoder)
    (found,) = verification._compare_restart("fp16", streams.manifest, pair)
    assert found and found.value == 0
    assert len(calls) == 2 * 2
