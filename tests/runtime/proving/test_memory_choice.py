"""Which memory is recorded for an engine: measured, asked for, or none; on a GPU that is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner
from engine_sidecars import sidecar_of
from fake_gpu import FakeApi
from fake_tensorrt import FakeTensorRT
from tiny_golden import write_tiny_golden

from vidtok_edge.cli import main
from vidtok_edge.commands.build import choose_memories
from vidtok_edge.errors import (
    BackendUnavailable,
    EngineMissing,
    EngineStale,
    GoldenStreamError,
    UsageError,
)
from vidtok_edge.runtime import Bundle, proofs
from vidtok_edge.runtime.backends import choosing
from vidtok_edge.runtime.backends.backend import Backend, Target
from vidtok_edge.runtime.backends.engines import step as step_module
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.library import host_of
from vidtok_edge.runtime.backends.engines.memory import Memory
from vidtok_edge.runtime.backends.engines.sidecar import EngineSidecar, engine_file, read_sidecar
from vidtok_edge.runtime.backends.engines.step import EngineStep
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.manifest.graphs import KINDS, Kind
from vidtok_edge.runtime.proofs import read_proof, write_proof
from vidtok_edge.runtime.proving import memory_choice
from vidtok_edge.runtime.proving import prove as prove_module
from vidtok_edge.runtime.proving.memory_choice import check_asked, choose_memory
from vidtok_edge.runtime.proving.proof_report import collect, page_of
from vidtok_edge.runtime.proving.prove import prove

GPU = Gpu("Thor", "sm110", 64 << 30)
TENSORRT = Target.TENSORRT


@pytest.fixture
def api() -> FakeApi:
    """A GPU that shares its memory with the CPU, and can serve every kind of it."""
    api = FakeApi()
    api.attributes["Integrated"] = 1
    return api


@pytest.fixture
def bundle(tiny: Path, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bundle]:
    """A bundle with a golden stream and engines of both graphs for the GPU here."""
    library = FakeTensorRT(api)
    for module in (choosing, proofs, prove_module, step_module):
        monkeypatch.setattr(module, "present_gpu", lambda: GPU)
    monkeypatch.setattr(step_module, "load_tensorrt", lambda target: library)
    for module in (step_module, memory_choice):
        monkeypatch.setattr(module, "load_cuda", lambda target: Cuda(api))
    monkeypatch.setattr(memory_choice, "_MOST", 3)
    write_tiny_golden(tiny)
    bundle = Bundle.load(tiny)
    host = host_of(TENSORRT, cast(TensorRT, library), GPU.architecture, GPU.name)
    for kind in KINDS:
        graph, path = bundle.manifest.graph(kind), engine_of(bundle, kind)
        content = str(tiny / graph.file).encode()  # what the fake GPU takes for an engine
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path.with_suffix(".json").write_text(sidecar_of(graph, content, host).to_json())
    yield bundle


def engine_of(bundle: Bundle, kind: Kind) -> Path:
    return engine_file(bundle.path, bundle.manifest.graph(kind), TENSORRT, GPU.architecture)


def sidecar(bundle: Bundle, kind: Kind = "encoder") -> EngineSidecar:
    return read_sidecar(engine_of(bundle, kind))


def slowed(monkeypatch: pytest.MonkeyPatch, ms: dict[Memory, float]) -> None:
    """Let calls take so long, and all else no time."""
    run, now_s = EngineStep.run, [0.0]

    def slow(step: EngineStep) -> None:
        now_s[0] += ms[Memory(step.info.memory)] / 1000
        run(step)

    monkeypatch.setattr(EngineStep, "run", slow)
    clock = SimpleNamespace(perf_counter=lambda: now_s[0])
    monkeypatch.setattr(memory_choice, "time", clock)


def chosen(bundle: Bundle, asked: str | None = None, kind: Kind = "encoder") -> Any:
    return choose_memory(bundle, kind, TENSORRT, "fp32", asked)


# --- measured -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fastest", Memory)
@pytest.mark.parametrize("kind", KINDS)
def test_the_fastest_is_recorded_and_run(
    bundle: Bundle, kind: Kind, fastest: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, {memory: 0 if memory == fastest else 20 for memory in Memory})
    choice = chosen(bundle, kind=kind)
    assert choice.memory == fastest
    assert [it.memory for it in choice.times] == list(Memory)
    assert not any(it.fault for it in choice.times)
    kept = sidecar(bundle, kind)
    assert (kept.memory, kept.memories) == (choice.memory, choice.times)
    with bundle.step(kind, "tensorrt") as step:
        assert step.info.memory == fastest
    assert chosen(bundle, kind=kind) is None, "it is recorded"
    assert str(choice).startswith(f"frames and tokens in {fastest} memory (device ")


def test_a_kind_that_gives_something_else_is_not_taken(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, {Memory.DEVICE: 10, Memory.MAPPED: 20, Memory.MANAGED: 0})
    run = EngineStep.run

    def wrong(step: EngineStep) -> None:
        run(step)
        if step.info.memory == Memory.MANAGED:
            step.outputs["tokens"][0, 0, 0, 0] += 1

    monkeypatch.setattr(EngineStep, "run", wrong)
    choice = chosen(bundle)
    assert choice.memory == Memory.DEVICE
    assert [it.fault for it in choice.times] == ["", "", "other results than device memory"]
    assert "managed other results than device memory" in str(choice)


def test_only_what_the_gpu_can_serve_is_tried(bundle: Bundle, api: FakeApi) -> None:
    """As on a Jetson Orin."""
    api.attributes["ConcurrentManagedAccess"] = 0
    assert [it.memory for it in chosen(bundle).times] == [Memory.DEVICE, Memory.MAPPED]


def test_a_gpu_with_memory_of_its_own_is_measured_when_asked(bundle: Bundle, api: FakeApi) -> None:
    api.attributes["Integrated"] = 0
    assert chosen(bundle) is None and sidecar(bundle).memory is None
    assert not api.calls["cudaMalloc"], "no engine was loaded"
    assert len(chosen(bundle, "auto").times) == 3


# --- asked for ----------------------------------------------------------------------------------


def test_what_is_asked_for_is_recorded_and_stays(bundle: Bundle, api: FakeApi) -> None:
    assert chosen(bundle, "device").times == ()
    assert sidecar(bundle).memory == Memory.DEVICE
    assert not api.calls["cudaMalloc"]
    assert chosen(bundle) is None, "also on a GPU where it would be measured"
    times = chosen(bundle, "auto").times
    assert str(chosen(bundle, "mapped")) == "frames and tokens in mapped memory"
    assert (sidecar(bundle).memory, sidecar(bundle).memories) == (Memory.MAPPED, times)


def test_what_cannot_be_is_refused(bundle: Bundle, api: FakeApi) -> None:
    api.attributes["ConcurrentManagedAccess"] = 0
    for refused in (lambda: chosen(bundle, "managed"), lambda: check_asked(TENSORRT, "managed")):
        with pytest.raises(BackendUnavailable, match=r"cannot be in managed.*It can: device, map"):
            refused()
    with pytest.raises(UsageError, match="There is no memory 'pinned'"):
        check_asked(TENSORRT, "pinned")
    check_asked(TENSORRT, "auto")
    check_asked(TENSORRT, "mapped")
    assert sidecar(bundle).memory is None


def test_engines_that_cannot_be_measured(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle.path / "golden" / "golden.json").unlink()
    with pytest.raises(GoldenStreamError):
        chosen(bundle)
    path = engine_of(bundle, "encoder")
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(EngineStale, match=r"its sidecar: .*schema.*--rebuild"):
        chosen(bundle)
    path.unlink()
    with pytest.raises(EngineMissing, match=r"no encoder engine in fp32.*vidtok-edge build"):
        chosen(bundle)
    monkeypatch.setattr(prove_module, "present_gpu", lambda: None)
    with pytest.raises(EngineMissing):
        chosen(bundle, kind="decoder")


# --- proofs ---------------------------------------------------------------------------------------


def test_a_proof_says_which_memory_and_counts_for_it_alone(bundle: Bundle) -> None:
    old = prove(bundle, Backend.TENSORRT)
    assert old.encoder.graph.memory == "device" and not old.encoder.graph.memory_told
    # As proofs were before there was a choice.
    before = [replace(part, graph=replace(part.graph, memory="")) for part in (old.encoder,)]
    write_proof(bundle.path, replace(old, encoder=before[0]))
    with (
        bundle.encoder("tensorrt") as encoder,
        bundle.encoder("tensorrt", memory="mapped") as other,
    ):
        assert encoder.proof
        assert "(memory: proven device, here mapped)" in str(other.proof)
    times = chosen(bundle, "auto").times
    chosen(bundle, "mapped")
    proof = read_proof(write_proof(bundle.path, prove(bundle, Backend.TENSORRT)))
    assert (proof.encoder.graph.memory, proof.encoder.graph.memories) == ("mapped", times)
    assert proof.decoder.graph.memory == "device"
    with (
        bundle.encoder("tensorrt") as encoder,
        bundle.encoder("tensorrt", memory="device") as other,
    ):
        assert encoder.proof and not other.proof
    page = page_of("tiny", collect(bundle.path))
    assert f"frames and tokens in mapped memory (device {times[0].call_ms:.3f} ms a call" in page
    with bundle.encoder("cpu") as encoder:
        assert encoder.backend.memory == ""


# --- the command ----------------------------------------------------------------------------------


def test_a_build_chooses_and_says_so(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    choose_memories(bundle.path, "tensorrt", None)
    out = capsys.readouterr().out
    for kind in KINDS:
        kept = sidecar(bundle, kind)
        assert kept.memory is not None and len(kept.memories) == 3
        assert f"{kind}.fp32" in out
    assert out.count("frames and tokens in") == 2
    choose_memories(bundle.path, "tensorrt", None)
    assert capsys.readouterr().out == "", "what was chosen stays"
    result = CliRunner().invoke(
        main, ["prove", str(bundle.path), "--backend", "tensorrt"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert result.output.count("frames and tokens in") == 2


def test_a_build_that_cannot_choose_warns_unless_asked(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (bundle.path / "golden" / "golden.json").unlink()
    choose_memories(bundle.path, "tensorrt", None)
    assert "is not chosen, and they are copied:" in capsys.readouterr().err
    with pytest.raises(GoldenStreamError):
        choose_memories(bundle.path, "tensorrt", "auto")
    monkeypatch.setattr(prove_module, "present_gpu", lambda: None)
    choose_memories(bundle.path, "tensorrt", None)
    assert capsys.readouterr().err == ""
    choose_memories(bundle.path, "tensorrt", "mapped")
    assert "say --memory where they run" in capsys.readouterr().err
