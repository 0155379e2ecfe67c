"""Proofs of tiny bundles on ONNX Runtime, and of engines on a GPU that is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from engine_sidecars import sidecar_of
from fake_gpu import FakeApi
from fake_tensorrt import FakeTensorRT
from tiny_golden import write_tiny_golden
from wrong_graphs import FAULTS, spoil

from vidtok_edge.errors import EngineMissing, GoldenStreamError
from vidtok_edge.runtime import Bundle, proofs
from vidtok_edge.runtime.backends import choosing
from vidtok_edge.runtime.backends.backend import Backend, Target
from vidtok_edge.runtime.backends.engines import step as step_module
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.library import host_of
from vidtok_edge.runtime.backends.engines.sidecar import engine_file
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.manifest.graphs import Precision
from vidtok_edge.runtime.proofs import write_proof
from vidtok_edge.runtime.proving import golden as golden_module
from vidtok_edge.runtime.proving import prove as prove_module
from vidtok_edge.runtime.proving import scenes
from vidtok_edge.runtime.proving.prove import prove, what_to_prove

ORIN = Gpu("Orin", "sm87", 8 << 30)


@pytest.fixture
def golden(tiny: Path) -> Path:
    """A tiny bundle with a golden stream."""
    write_tiny_golden(tiny)
    return tiny


def test_a_proof_says_what_ran_and_on_what(golden: Path) -> None:
    told: list[tuple[int, int | None]] = []
    proof = prove(Bundle.load(golden), progress=lambda done, total: told.append((done, total)))
    assert proof and proof.differences == ()
    assert proof.backend == "cpu" and proof.library.startswith("onnxruntime ")
    assert proof.name == f"cpu.fp32.{proof.device.short}"
    assert told == [(n, 27) for n in range(1, 28)]
    graph = Bundle.load(golden).manifest.graph("encoder")
    assert proof.encoder.graph.onnx_sha256 == graph.sha256
    assert proof.encoder.graph.engine_sha256 == ""
    assert proof.machine["Python"].startswith("CPython")
    assert proof.encoder.calls >= 6 and 0 < proof.encoder.p50_ms <= proof.encoder.p99_ms
    assert proof.encoder.slots_equal and proof.encoder.runs_equal
    assert proof.seconds < 30


def test_a_wrong_decoder_is_told_from_a_wrong_encoder(golden: Path) -> None:
    spoil(golden, "decoder", FAULTS["start"])
    proof = prove(Bundle.load(golden))
    assert [difference.kind for difference in proof.differences] == ["decoder"] * 3
    assert proof.encoder.value == 1.0 and proof.encoder.runs_equal


def test_frames_that_come_out_otherwise_here_are_no_proof(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(number: int, height: int, width: int, *, cut: int) -> Any:
        return scenes.golden_frame(number + 1, height, width, cut=cut)

    monkeypatch.setattr(golden_module, "golden_frame", other)
    with pytest.raises(GoldenStreamError, match=f"NumPy {np.__version__} makes other frames"):
        prove(Bundle.load(golden))


def in_precisions(folder: Path, *precisions: Precision) -> Bundle:
    """The tiny bundle with its graphs in other precisions, too: of the same files."""
    manifest = Bundle.load(folder).manifest
    graphs = tuple(
        replace(graph, precision=precision) for precision in precisions for graph in manifest.graphs
    )
    text = replace(manifest, graphs=graphs).to_json()
    (folder / "manifest.json").write_text(text)
    return Bundle.load(folder)


def test_a_precision_of_which_the_stream_says_nothing_is_refused(golden: Path) -> None:
    bundle = in_precisions(golden, "fp16")
    with pytest.raises(GoldenStreamError, match="does not say what fp16 gave"):
        prove(bundle)


def test_what_is_proven_where_nobody_says(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = in_precisions(tiny, "fp32", "fp16")
    both = [(Backend.ONNXRUNTIME, "fp32"), (Backend.ONNXRUNTIME, "fp16")]
    assert what_to_prove(bundle, Backend.AUTO) == both
    assert what_to_prove(bundle, Backend.AUTO, ("fp16",)) == [(Backend.AUTO, "fp16")]
    assert what_to_prove(bundle, Backend.CPU) == [(Backend.CPU, "fp32"), (Backend.CPU, "fp16")]
    monkeypatch.setattr(prove_module, "present_gpu", lambda: ORIN)
    assert what_to_prove(bundle, Backend.AUTO) == both, "there is no engine"
    assert what_to_prove(bundle, Backend.TENSORRT) == [(Backend.TENSORRT, "fp32")], "which is said"
    (tiny / "engines").mkdir()
    (tiny / "engines" / "encoder.fp16.tensorrt.sm87.engine").touch()
    for backend in (Backend.AUTO, Backend.TENSORRT):
        assert what_to_prove(bundle, backend) == [(Backend.TENSORRT, "fp16")]
    assert what_to_prove(bundle, Backend.TENSORRT_RTX) == [(Backend.TENSORRT_RTX, "fp32")]


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    """An Orin that is none, with TensorRT 10.3."""
    api = FakeApi()
    library = FakeTensorRT(api)
    for module in (choosing, proofs, prove_module, step_module):
        monkeypatch.setattr(module, "present_gpu", lambda: ORIN)
    monkeypatch.setattr(step_module, "load_tensorrt", lambda target: library)
    monkeypatch.setattr(step_module, "load_cuda", lambda target: Cuda(api))
    yield library
    api.assert_clean()


def build(folder: Path, library: FakeTensorRT, compiled: Path) -> None:
    """Engines of the bundle in `folder`, with their sidecars, of the graphs in `compiled`: the
    same, unless TensorRT compiled something else."""
    for graph in Bundle.load(folder).manifest.graphs:
        content = str(compiled / graph.file).encode()  # what the fake runs
        path = engine_file(folder, graph, "tensorrt", ORIN.architecture)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        host = host_of(Target.TENSORRT, cast(TensorRT, library), ORIN.architecture, ORIN.name)
        path.with_suffix(".json").write_text(sidecar_of(graph, content, host).to_json())


def test_engines_prove_themselves(golden: Path, board: FakeTensorRT, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="Build it on this machine with: vidtok-edge build"):
        prove(Bundle.load(golden), Backend.TENSORRT)
    build(golden, board, golden)
    bundle = Bundle.load(golden)
    assert what_to_prove(bundle, Backend.AUTO) == [(Backend.TENSORRT, "fp32")]
    proof = prove(bundle)
    assert proof and (proof.backend, proof.name) == ("tensorrt", "tensorrt.fp32.sm87")
    assert (proof.library, proof.device.name) == ("tensorrt 10.3.0", "Orin")
    assert write_proof(golden, proof).name == "tensorrt.fp32.sm87.json"
    with bundle.encoder("tensorrt") as encoder, bundle.encoder("cpu") as other:
        assert encoder.proof and not other.proof
    build(golden, board, Path(shutil.copytree(golden, tmp_path / "other")))
    with bundle.encoder("tensorrt") as encoder:
        assert not encoder.proof
        assert "is of something else (engine sha256: proven" in str(encoder.proof)


def test_engines_that_were_compiled_wrongly_fail(
    golden: Path, board: FakeTensorRT, tmp_path: Path
) -> None:
    """Their sidecars say that they are of the right graphs: nothing but a stream can tell."""
    wrong = Path(shutil.copytree(golden, tmp_path / "wrong"))
    spoil(wrong, "encoder", FAULTS["start"])
    build(golden, board, wrong)
    proof = prove(Bundle.load(golden), Backend.TENSORRT)
    assert not proof
    assert proof.differences[0].text.startswith("encoder, latent 0 (start): 4 of 4 tokens are not")
    assert {difference.kind for difference in proof.differences} == {"encoder"}
    write_proof(golden, proof)
    with Bundle.load(golden).encoder("tensorrt") as encoder:
        assert "tensorrt.fp32.sm87.json says failed: encoder, latent 0" in str(encoder.proof)
