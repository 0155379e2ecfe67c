"""`vidtok-edge build` as a person meets it."""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from engine_graphs import write_engine_bundle
from engine_sidecars import sidecar_of
from fake_gpu import FakeApi
from fake_tensorrt import HERE, fake_engine
from tiny_golden import write_tiny_golden
from wrong_graphs import FAULTS, spoil

from vidtok_edge.cli import main
from vidtok_edge.commands import prove as prove_command
from vidtok_edge.commands.build import prove_built, sums_in_fp16
from vidtok_edge.errors import CheckFailed
from vidtok_edge.runtime import Bundle, proofs
from vidtok_edge.runtime import bundle as bundle_module
from vidtok_edge.runtime.backends.engines import sidecar as sidecar_module
from vidtok_edge.runtime.backends.engines.building import targets as engine_targets
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.sidecar import EngineSidecar, write_sidecar
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.proving import memory_choice
from vidtok_edge.runtime.proving import prove as prove_module


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["build", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def bundle(tiny: Path) -> Path:
    """A bundle of small graphs in fp16 and INT8."""
    write_engine_bundle(tiny, Bundle.load(tiny).manifest, "fp16", "int8")
    return tiny


@pytest.fixture
def rtx() -> None:
    """Skip where TensorRT-RTX is not installed."""
    pytest.importorskip("tensorrt_rtx")


def test_help_works_with_no_extra_installed() -> None:
    absent = ["torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "av", "PIL"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        "from vidtok_edge.cli import main; main(['build', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--precision" in done.stdout


@pytest.mark.usefixtures("rtx")
def test_a_build_says_what_it_does_and_keeps_what_fits(bundle: Path) -> None:
    wanted = (bundle, "--target", "tensorrt-rtx", "--gpu", "sm86,sm120", "--precision", "fp16")
    planned = run(*wanted, "--dry-run")
    assert planned.exit_code == 0 and planned.output.count("would be built: not there yet") == 4
    assert not (bundle / "engines").exists()
    built = run(*wanted)
    assert built.exit_code == 0, built.output
    lines = [line for line in built.output.splitlines() if line.startswith("encoder.fp16")]
    assert " s " in lines[0] and lines[0].endswith(" MB")
    assert "fp16 100.0 % of the work in 2 of 2 layers (network)" in built.output
    kept = run(*wanted)
    assert kept.exit_code == 0 and kept.output.count("kept: it fits its graph") == 4
    again = run(*wanted, "--rebuild", "--dry-run")
    assert again.output.count("would be built: asked for") == 4


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--target tensorrt-rtx --gpu sm87", 2, "no Jetson Orin target"),
        ("--target tensorrt-rtx --gpu banana", 2, "write it as sm86"),
        ("--target tensorrt-rtx --gpu sm86 --precision int4", 2, "use fp32, fp16, int8"),
        ("--target tensorrt-rtx --gpu sm86 --precision fp32", 3, "Export it with that precision"),
        ("--target tensorrt-rtx --gpu sm86 --optimization 7", 2, "give 0 to 5"),
        ("--target openvino", 2, "tensorrt-rtx"),
    ],
)
def test_wrong_builds_say_what_would_work(
    bundle: Path, arguments: str, code: int, message: str
) -> None:
    result = run(bundle, *arguments.split())
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert not (bundle / "engines").exists()


@pytest.mark.usefixtures("rtx")
def test_memory_that_the_gpu_cannot_serve_is_said_before_the_build(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi()
    api.attributes["CanMapHostMemory"] = 0
    monkeypatch.setattr(memory_choice, "load_cuda", lambda target: Cuda(api))
    result = run(bundle, "--target", "tensorrt-rtx", "--gpu", "sm86", "--memory", "mapped")
    assert result.exit_code == 4, result.output
    assert "It can: device, managed." in result.output
    assert not (bundle / "engines").exists()


def in_channels_last(folder: Path, precision: str) -> None:
    """Say of the graphs in `precision` that this is their form."""
    manifest = Bundle.load(folder).manifest
    graphs = tuple(
        replace(graph, form="channels_last") if graph.precision == precision else graph
        for graph in manifest.graphs
    )
    (folder / "manifest.json").write_text(replace(manifest, graphs=graphs).to_json())


@pytest.mark.usefixtures("rtx")
def test_what_is_for_onnx_runtime_is_left_out_and_said(bundle: Path) -> None:
    in_channels_last(bundle, "fp16")
    result = run(bundle, "--target", "tensorrt-rtx", "--gpu", "sm86", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "no engine is built of fp16: its form, channels_last" in result.output
    assert "encoder.int8" in result.output and "encoder.fp16.t" not in result.output


@pytest.mark.parametrize("arguments", [(), ("--precision", "fp32"), ("--form", "auto")])
def test_a_bundle_for_onnx_runtime_alone_says_what_to_export(
    tiny: Path, arguments: tuple[str, ...]
) -> None:
    in_channels_last(tiny, "fp32")
    result = run(tiny, *arguments)
    assert result.exit_code == 3, result.output
    assert "No engine is built of encoder.fp32.onnx" in result.output
    assert "--precision fp16" in result.output and "--form conv2d" in result.output


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 3 and "has no manifest.json" in result.output


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"), "pip install"),
        (OSError("libnvinfer.so.10: cannot open shared object file"), "libnvinfer.so.10"),
    ],
)
def test_without_tensorrt_the_environment_is_blamed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    load = importlib.import_module

    def import_module(name: str, *arguments: Any) -> Any:
        if name == "tensorrt":
            raise error
        return load(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", import_module)
    result = run(bundle)
    assert (result.exit_code, message in result.output) == (4, True), result.output


@pytest.mark.usefixtures("rtx")
def test_without_a_gpu_rtx_asks_which(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_targets, "present_gpu", lambda: None)
    result = run(bundle, "--target", "tensorrt-rtx")
    assert result.exit_code == 2 and "--gpu sm75,sm80,sm86" in result.output


@pytest.fixture
def orin(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tiny bundle with an engine for an Orin, which is here and runs ONNX files."""
    api = FakeApi()

    def opened(folder: Path, graph: Any, backend: Any, **options: Any) -> Any:
        return fake_engine(graph, folder / graph.file, api)

    write_tiny_golden(tiny)
    (tiny / "engines").mkdir()
    (tiny / "engines" / "encoder.fp32.tensorrt.sm87.engine").touch()
    for module in (prove_module, proofs):
        monkeypatch.setattr(module, "present_gpu", lambda: Gpu("Orin", "sm87", 8 << 30))
    monkeypatch.setattr(bundle_module, "open_step", opened)
    yield tiny
    api.assert_clean()


def test_a_build_ends_with_a_proof(orin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prove_built(orin, "tensorrt")
    assert "tensorrt.fp32.sm87: passed" in capsys.readouterr().out
    assert (orin / "proof" / "tensorrt.fp32.sm87.json").is_file()


@pytest.mark.parametrize(
    ("fp16_sums", "float32_sums", "told"),
    [(0, False, False), (3, False, True), (3, True, False), (None, False, False)],
)
def test_a_build_whose_engine_is_wrong_fails(
    orin: Path,
    fp16_sums: int | None,
    float32_sums: bool,
    told: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(orin, "decoder", FAULTS["start"])
    if fp16_sums is not None:
        sidecar = sidecar_of(Bundle.load(orin).manifest.graph("encoder"), b"", HERE)
        proof = replace(sidecar.proof, fp16_sums=fp16_sums)
        sidecar = replace(sidecar, proof=proof, float32_sums=float32_sums)
        write_sidecar(orin / "engines" / "encoder.fp32.tensorrt.sm87.engine", sidecar)
    with pytest.raises(CheckFailed, match=r"sm87: decoder, picture 0 of latent 0 \(start\)"):
        prove_built(orin, "tensorrt")
    cure = "build with --float32-sums, for encoder.fp32.tensorrt.sm87.engine"
    assert (cure in capsys.readouterr().err) == told


def test_sums_in_float32_are_advised_for_the_precision_that_failed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "engines").mkdir()
    for graph in Bundle.load(bundle).manifest.graphs:
        engine = bundle / "engines" / f"{graph.kind}.{graph.precision}.tensorrt.sm87.engine"
        engine.touch()
        sidecar = sidecar_of(graph, b"", HERE)
        proof = replace(sidecar.proof, fp16_sums=3)
        write_sidecar(engine, replace(sidecar, proof=proof))
    (bundle / "engines" / "decoder.int8.tensorrt.sm87.json").unlink()
    monkeypatch.setattr(prove_module, "present_gpu", lambda: Gpu("Orin", "sm87", 8 << 30))
    difference = SimpleNamespace(text="it differs")
    failed = SimpleNamespace(name="x", precision="int8", differences=[difference])
    monkeypatch.setattr(prove_command, "prove_each", lambda *_: [failed])
    with pytest.raises(CheckFailed, match="x: it differs"):
        prove_built(bundle, "tensorrt")
    told = capsys.readouterr().err
    assert told.strip().endswith("--float32-sums, for encoder.int8.tensorrt.sm87.engine"), told


def test_a_sidecar_that_cannot_be_read_says_nothing_of_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(engine: Path) -> EngineSidecar:
        raise PermissionError("not for you")

    monkeypatch.setattr(sidecar_module, "read_sidecar", failing)
    assert not sums_in_fp16(tmp_path / "x.engine")


def test_engines_of_other_gpus_are_not_proven_here(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prove_built(tiny, "tensorrt")
    told = capsys.readouterr().err
    assert "not proven, for no GPU here runs these engines; where they run: vidtok-edge pr" in told


def test_engines_that_cannot_be_proven_are_built_all_the_same(
    orin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(orin / "golden")
    prove_built(orin, "tensorrt")
    told = capsys.readouterr().err
    assert "the engines are not proven:" in told and "has no golden stream" in told
