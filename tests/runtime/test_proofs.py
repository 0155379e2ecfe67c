"""Proofs in bundles: written, read, and whether they are of what runs here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine_sidecars import sidecar_of
from fake_tensorrt import HERE
from tiny_golden import write_tiny_golden

from vidtok_edge.errors import OutputNotWritable, ProofError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime import proofs as proofs_module
from vidtok_edge.runtime.backends.engines.sidecar import engine_file
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.backends.step import BackendInfo
from vidtok_edge.runtime.proofs import (
    PROOFS,
    Difference,
    Proof,
    device_of,
    proven_graph,
    read_proof,
    write_proof,
)
from vidtok_edge.runtime.proving.prove import prove


@pytest.fixture
def proven_bundle(tiny: Path) -> Path:
    """A tiny bundle that has proven itself on the CPU."""
    write_tiny_golden(tiny)
    write_proof(tiny, prove(Bundle.load(tiny)))
    return tiny


ENGINE = BackendInfo("tensorrt", "tensorrt", "tensorrt 10.3.0", "", "mapped")
CPU = BackendInfo("cpu", "cpu", "onnxruntime 1", "")


def the_proof(folder: Path) -> Path:
    [path] = (folder / PROOFS).iterdir()
    return path


def test_what_was_written_is_read(proven_bundle: Path) -> None:
    path = the_proof(proven_bundle)
    proof = read_proof(path)
    assert path.name == f"{proof.name}.json" == f"cpu.fp32.{proof.device.short}.json"
    difference = Difference(kind="decoder", latent=3, text="x")
    failed = replace(proof, verdict="failed", differences=(difference,))
    assert write_proof(proven_bundle, failed) == path, "in place of the one before"
    assert read_proof(path) == failed and not failed
    assert [file.name for file in (proven_bundle / PROOFS).iterdir()] == [path.name]


def test_streams_tell_their_proof(proven_bundle: Path) -> None:
    bundle = Bundle.load(proven_bundle)
    with bundle.encoder("cpu") as encoder, bundle.decoder() as decoder:
        for stream in (encoder, decoder):
            assert stream.proof and stream.proof.proof == read_proof(the_proof(proven_bundle))
            assert str(stream.proof).startswith(f"proof {stream.proof.proof.name}: passed, 20")


def test_without_a_proof_streams_run_and_say_what_to_do(tiny: Path) -> None:
    with Bundle.load(tiny).encoder("cpu") as encoder:
        assert not encoder.proof and encoder.proof.proof is None
        line = f"vidtok-edge prove {tiny} --backend cpu --precision fp32"
        assert str(encoder.proof) == f"no proof: run: {line}"
    (tiny / PROOFS).mkdir()
    with Bundle.load(tiny).encoder("cpu") as encoder:
        assert line in str(encoder.proof)


def test_the_command_that_is_told_can_be_copied(tiny: Path, tmp_path: Path) -> None:
    spaced = tiny.rename(tmp_path / "my bundle")
    with Bundle.load(spaced).encoder("cpu") as encoder:
        assert f"vidtok-edge prove '{spaced}' --backend" in str(encoder.proof)


def change(folder: Path, change: Callable[[Proof], Proof]) -> None:
    write_proof(folder, change(read_proof(the_proof(folder))))


def of_another_library(proof: Proof) -> Proof:
    return replace(proof, library="onnxruntime 1.0.0")


def of_another_device(proof: Proof) -> Proof:
    return replace(proof, device=replace(proof.device, name="Grace"))


def of_another_graph(proof: Proof) -> Proof:
    graph = replace(proof.encoder.graph, onnx_sha256="0" * 64)
    return replace(proof, encoder=replace(proof.encoder, graph=graph))


def of_other_weights(proof: Proof) -> Proof:
    graph = replace(proof.encoder.graph, data_sha256="0" * 64)
    return replace(proof, encoder=replace(proof.encoder, graph=graph))


def of_an_engine(proof: Proof) -> Proof:
    graph = replace(proof.encoder.graph, engine_sha256="e" * 64)
    return replace(proof, encoder=replace(proof.encoder, graph=graph))


def that_failed(proof: Proof) -> Proof:
    text = "encoder, latent 0 (start): 4 of 4"
    difference = Difference(kind="encoder", latent=0, text=text)
    return replace(proof, verdict="failed", differences=(difference,))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (of_another_library, r"library: proven onnxruntime 1\.0\.0, here onnxruntime"),
        (of_another_device, "device: proven Grace, here"),
        (of_another_graph, "ONNX sha256: proven 000000000000, here"),
        (of_other_weights, "weights sha256: proven 000000000000, here"),
        (of_an_engine, "engine sha256: proven eeeeeeeeeeee, here none"),
        (that_failed, r"json says failed: encoder, latent 0 \(start\): 4 of 4"),
    ],
)
def test_a_proof_of_something_else_does_not_count(
    proven_bundle: Path, made: Callable[[Proof], Proof], said: str
) -> None:
    change(proven_bundle, made)
    with Bundle.load(proven_bundle).encoder("cpu") as encoder:
        assert not encoder.proof and encoder.proof.proof is not None
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(str(encoder.proof))


def no_object(path: Path) -> None:
    path.write_text("[]")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:99])


def another_verdict(path: Path) -> None:
    path.write_text(path.read_text().replace('"passed"', '"perhaps"'))


def a_later_schema(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 9}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_object, "it is no object"),
        (cut_off, "no proof that can be read"),
        (another_verdict, "expected 'passed' or 'failed', got 'perhaps'"),
        (a_later_schema, "its schema is 9, and this toolkit reads 1"),
    ],
)
def test_a_damaged_proof_is_said_and_runs_nothing_over(
    proven_bundle: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(the_proof(proven_bundle))
    with pytest.raises(ProofError, match=said):
        read_proof(the_proof(proven_bundle))
    with Bundle.load(proven_bundle).encoder("cpu") as encoder:
        assert not encoder.proof and "Prove the bundle again" in str(encoder.proof)


def test_a_bundle_that_cannot_be_written_says_so(proven_bundle: Path) -> None:
    proof = read_proof(the_proof(proven_bundle))
    the_proof(proven_bundle).unlink()
    (proven_bundle / PROOFS).rmdir()
    (proven_bundle / PROOFS).touch()
    with pytest.raises(OutputNotWritable, match="proof cannot be made"):
        write_proof(proven_bundle, proof)


def test_a_cpu_is_named_as_it_names_itself(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    info = tmp_path / "proc" / "cpuinfo"
    info.write_text("model name\t: AMD EPYC\nmodel name\t: AMD EPYC\n")
    assert device_of("cpu", tmp_path).name == "AMD EPYC"
    info.write_text("CPU part\t: 0xd42\nCPU part\t: 0xd42\nCPU part\t: 0xd4b\n")
    assert device_of("cpu", tmp_path).name == "CPU part 0xd42 0xd4b"
    info.unlink()
    assert device_of("cpu", tmp_path).name == device_of("cpu", tmp_path).short != ""


def test_a_gpu_is_named_as_its_driver_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs_module, "present_gpu", lambda: Gpu("Orin", "sm87", 8 << 30))
    device = device_of("tensorrt")
    assert (device.name, device.short) == ("Orin", "sm87")
    assert device_of("cpu").name != "Orin"


def test_the_engine_that_is_proven_is_the_one_of_the_sidecar(tiny: Path) -> None:
    graph = Bundle.load(tiny).manifest.graph("encoder")
    path = engine_file(tiny, graph, "tensorrt", "sm87")
    path.parent.mkdir()
    path.write_bytes(b"engine")
    assert proven_graph(tiny, graph, ENGINE, "sm87").engine_sha256 == "unknown"
    sidecar = sidecar_of(graph, b"engine", HERE)
    path.with_suffix(".json").write_text(sidecar.to_json())
    proven = proven_graph(tiny, graph, ENGINE, "sm87")
    assert proven.engine_sha256 == sidecar.engine_sha256
    assert proven_graph(tiny, graph, CPU, "x86_64").engine_sha256 == ""
