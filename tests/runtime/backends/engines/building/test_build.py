"""Engines that TensorRT-RTX builds here, without a GPU: accepted, whole, kept, or refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from engine_graphs import CONV_WORK, LAYER, MATMUL_WORK, write_engine_bundle
from onnx import TensorProto, helper

from vidtok_edge.errors import (
    BundleError,
    BundleFileChanged,
    CheckFailed,
    EngineRefused,
    EngineStale,
    OutputNotWritable,
    UsageError,
)
from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building import (
    build as engine_build,
)
from vidtok_edge.runtime.backends.engines.building import (
    interrupt as build_interrupt,
)
from vidtok_edge.runtime.backends.engines.building.build import (
    BuilderOptions,
    BuildRequest,
    build_engines,
    plan_engines,
)
from vidtok_edge.runtime.backends.engines.library import load_tensorrt
from vidtok_edge.runtime.backends.engines.sidecar import (
    EngineFile,
    EngineHost,
    check_engine,
    write_sidecar,
)
from vidtok_edge.runtime.backends.gpu import Gpu
from vidtok_edge.runtime.bundle import MANIFEST
from vidtok_edge.runtime.manifest.graphs import Placement, Precision
from vidtok_edge.runtime.manifest.manifest import Manifest

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")


@pytest.fixture
def bundle(tiny: Path) -> Path:
    """A bundle of small graphs in fp32, fp16 and INT8."""
    write_engine_bundle(tiny, Bundle.load(tiny).manifest, "fp32", "fp16", "int8")
    return tiny


def build(bundle: Path, *precisions: str, **changes: Any) -> list[EngineFile]:
    request = BuildRequest(bundle, Target.TENSORRT_RTX, precisions, ("sm86",))
    return build_engines(plan_engines(replace(request, **changes)))


def files(bundle: Path) -> set[str]:
    return {path.name for path in (bundle / "engines").glob("*")}


def rewrite(bundle: Path, model: onnx.ModelProto) -> None:
    """Put another graph in the place of the encoder's fp32 one; the manifest agrees."""
    manifest = Manifest.from_json((bundle / MANIFEST).read_text())
    onnx.save(model, bundle / "encoder.fp32.onnx")
    graphs = [
        replace(g, sha256=sha256_of(bundle / g.file)) if g.file == "encoder.fp32.onnx" else g
        for g in manifest.graphs
    ]
    (bundle / MANIFEST).write_text(replace(manifest, graphs=tuple(graphs)).to_json())


# --- what is built ----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_comes_with_a_sidecar_that_proves_its_precision(
    bundle: Path, precision: Precision
) -> None:
    encoder, decoder = build(bundle, precision)
    assert files(bundle) == {
        f"{kind}.{precision}.tensorrt-rtx.sm86.{suffix}"
        for kind in ("encoder", "decoder")
        for suffix in ("engine", "json")
    }
    sidecar = encoder.sidecar
    assert sidecar.version == load_tensorrt(Target.TENSORRT_RTX).__version__
    assert sidecar.engine_bytes == encoder.path.stat().st_size > 10_000
    assert sidecar.proof.source == "network"
    shares = {s.precision: (s.layers, s.multiply_adds) for s in sidecar.proof.shares}
    conv, product = (1, CONV_WORK), (1, MATMUL_WORK)
    if precision == "int8":
        assert shares == {"int8": conv, "fp16": product}
    else:
        assert shares == {precision: (2, CONV_WORK + MATMUL_WORK)}
    assert decoder.sidecar.graph.startswith("decoder")


def test_without_precisions_all_are_built_and_without_need_none_again(bundle: Path) -> None:
    built = build(bundle)
    assert [f.sidecar.precision for f in built] == [
        p for p in ("fp32", "fp16", "int8") for _ in range(2)
    ]
    times = {f.path: f.path.stat().st_mtime_ns for f in built}
    request = BuildRequest(bundle, Target.TENSORRT_RTX, gpus=("sm86",))
    assert not any(plan_engines(request).engines)
    assert [f.path for f in build_engines(plan_engines(request))] == list(times)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in times.items())


def test_what_does_not_fit_is_built_again(bundle: Path) -> None:
    [first, _] = build(bundle, "fp16")
    request = BuildRequest(bundle, Target.TENSORRT_RTX, ("fp16",), ("sm86",))
    why = [engine.why for engine in plan_engines(replace(request, rebuild=True)).engines]
    assert why == ["asked for"] * 2
    options = BuilderOptions(workspace_mb=64, optimization=0)
    [changed, _] = plan_engines(replace(request, options=options)).engines
    assert "optimization: built with the default, asked for 0" in changed.why
    first.path.write_bytes(first.path.read_bytes()[:-1])
    [damaged, whole] = plan_engines(request).engines
    assert "the sidecar says" in damaged.why and not whole
    build(bundle, "fp16")
    assert not any(plan_engines(request).engines)


def test_options_are_recorded(bundle: Path) -> None:
    [built, _] = build(bundle, "fp16", options=BuilderOptions(workspace_mb=64, optimization=1))
    assert (built.sidecar.workspace_mb, built.sidecar.optimization) == (64, 1)
    [kept, _] = build(bundle, "fp16")  # whatever the options were
    assert kept.sidecar == built.sidecar


def test_one_engine_for_each_gpu(bundle: Path) -> None:
    built = build(bundle, "fp16", gpus=("sm86", "sm120"))
    assert [f.sidecar.gpu for f in built] == ["sm86", "sm86", "sm120", "sm120"]


def test_an_engine_of_another_version_or_graph_is_stale(bundle: Path) -> None:
    build(bundle, "fp16")
    loaded = Bundle.load(bundle)
    graph = loaded.manifest.graph("encoder", "fp16", placement=Placement.TENSORRT)
    here = EngineHost(target=Target.TENSORRT_RTX, version="1.8.0", gpu="sm86")
    with pytest.raises(EngineStale, match=r"TensorRT-RTX version: built for 1\.\d.*, here 1\.8\.0"):
        check_engine(loaded.path, graph, Target.TENSORRT_RTX, here)
    request = BuildRequest(bundle, Target.TENSORRT_RTX, ("fp32",), ("sm86",))
    build(bundle, "fp32")
    model = onnx.load(bundle / "encoder.fp32.onnx")
    model.producer_name = "another"
    rewrite(bundle, model)
    [encoder, decoder] = plan_engines(request).engines
    assert "ONNX sha256" in encoder.why and not decoder


# --- what is refused --------------------------------------------------------------------------


def test_the_request_is_checked_before_anything_is_built(bundle: Path) -> None:
    request = BuildRequest(bundle, Target.TENSORRT_RTX, gpus=("sm86",))
    for change, error, message in (
        ({"precisions": ("int4",)}, UsageError, "use fp32, fp16, int8"),
        ({"gpus": ("sm87",)}, UsageError, "Jetson Orin"),
    ):
        with pytest.raises(error, match=message):
            plan_engines(replace(request, **change))  # type: ignore[arg-type]
    for options in ({"workspace_mb": 0}, {"optimization": 6}):
        with pytest.raises(UsageError, match="give"):
            BuilderOptions(**options)  # type: ignore[arg-type]
    assert not (bundle / "engines").exists()


def test_a_bundle_without_the_precision_is_refused(tiny: Path) -> None:
    with pytest.raises(BundleError, match=r"no encoder graph in fp16 for TensorRT.*Export"):
        build(tiny, "fp16")


def test_a_bundle_whose_files_changed_is_refused(bundle: Path) -> None:
    with (bundle / "encoder.fp16.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleFileChanged):
        build(bundle, "fp16")


def test_a_graph_that_does_not_parse_names_node_and_layer(bundle: Path) -> None:
    node = helper.make_node("Add", ["x", "cache_000"], ["y"], name="decoder.up.0.block.1/Add")
    kinds = {"x": TensorProto.FLOAT, "cache_000": TensorProto.FLOAT16, "y": TensorProto.FLOAT}
    values = [helper.make_tensor_value_info(name, kind, [1, 4]) for name, kind in kinds.items()]
    graph = helper.make_graph([node], "g", values[:2], values[2:])
    opsets = [helper.make_opsetid("", 20)]
    rewrite(bundle, helper.make_model(graph, opset_imports=opsets, ir_version=9))
    with pytest.raises(EngineRefused, match=r"layer decoder\.up\.0\.block\.1, node") as caught:
        build(bundle, "fp32")
    message = str(caught.value)
    assert "must have same input types" in message and "cuda" not in message.lower()
    assert "encoder.fp32.onnx" in message and "\n" not in message
    assert files(bundle) == set()


def test_a_graph_without_its_inputs_is_refused(bundle: Path) -> None:
    node = helper.make_node("Add", ["nowhere", "nowhere"], ["y"])
    rewrite(bundle, helper.make_model(helper.make_graph([node], "g", [], []), ir_version=9))
    with pytest.raises(EngineRefused, match=r"does not parse encoder\.fp32\.onnx"):
        build(bundle, "fp32")


def test_turing_is_told_to_use_fp16(bundle: Path) -> None:
    with pytest.raises(EngineRefused, match=r"for sm75.*FP32 GEMM.*build those"):
        build(bundle, "fp32", gpus=("sm75",))
    assert len(build(bundle, "fp16", gpus=("sm75",))) == 2


def test_int8_that_comes_out_fp16_is_not_kept(bundle: Path) -> None:
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text.replace(f'"{LAYER}"', '"layer.conv2"'))
    with pytest.raises(CheckFailed, match=r"for one layer\.conv2"):
        build(bundle, "int8")
    assert files(bundle) == set()


def test_fp16_that_comes_out_fp32_is_not_kept(bundle: Path) -> None:
    """A graph that calls itself fp16 and is not."""
    manifest = Manifest.from_json((bundle / MANIFEST).read_text())
    graphs = [replace(g, precision="fp16") for g in manifest.graphs if g.precision == "fp32"]
    text = replace(manifest, graphs=tuple(graphs)).to_json()
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(CheckFailed, match="was to be fp16"):
        build(bundle, "fp16")
    assert files(bundle) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_bundle_that_cannot_be_written_is_refused_at_once(bundle: Path) -> None:
    bundle.chmod(0o555)
    try:
        with pytest.raises(OutputNotWritable, match="permissions"):
            build(bundle, "fp16")
    finally:
        bundle.chmod(0o755)


# --- interrupted ------------------------------------------------------------------------------


class Asked(KeyboardInterrupt):
    """What the program's handler raises."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_tensorrt_and_leaves_nothing(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def asked(*_: object) -> None:
        raise Asked

    outside = signal.signal(number, asked)
    original = build_interrupt.interruptible

    @contextmanager
    def pressed(library: Any) -> Iterator[Any]:
        with original(library) as monitor:
            os.kill(os.getpid(), number)
            assert monitor.step_complete("a phase", 1) is False
            yield monitor

    monkeypatch.setattr(engine_build, "interruptible", pressed)
    try:
        with pytest.raises(Asked):
            build(bundle, "fp16")
        assert files(bundle) == set()
        assert signal.getsignal(number) is asked
    finally:
        signal.signal(number, outside)


KILLED = """
import os, signal, sys
from pathlib import Path
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building import (
    BuildRequest, build_engines, files, plan_engines
)

where = sys.argv[2]
if where == "writing":
    files.EngineSidecar.to_json = lambda self: os.kill(os.getpid(), signal.SIGKILL)
else:
    replace, count = os.replace, [0]
    def replace_once(*names):
        replace(*names)
        os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace_once
request = BuildRequest(Path(sys.argv[1]), Target.TENSORRT_RTX, ("fp16",), ("sm86",))
build_engines(plan_engines(request))
"""


@pytest.mark.parametrize("where", ["writing", "between the two renames"])
def test_a_killed_build_leaves_nothing_that_looks_whole(bundle: Path, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(bundle), where], check=False)
    assert done.returncode == -signal.SIGKILL
    left = list((bundle / "engines").glob(".*.part"))
    assert left and not [name for name in files(bundle) if name.endswith(".json")]
    request = BuildRequest(bundle, Target.TENSORRT_RTX, ("fp16",), ("sm86",))
    assert all(engine.why for engine in plan_engines(request).engines)
    for part in left:
        os.utime(part, (time.time() - 7200,) * 2)
    build(bundle, "fp16")
    assert not list((bundle / "engines").glob(".*"))
    assert not any(plan_engines(request).engines)


# --- the classic path -------------------------------------------------------------------------


class Classic:
    """TensorRT-RTX without what only it has: the path of classic TensorRT, as far as it goes."""

    __version__ = "10.3.0"

    def __getattr__(self, name: str) -> Any:
        if name == "ComputeCapability":
            raise AttributeError(name)
        if name == "BuilderFlag":
            return SimpleNamespace(TF32=load_tensorrt(Target.TENSORRT_RTX).BuilderFlag.TF32)
        return getattr(load_tensorrt(Target.TENSORRT_RTX), name)


@pytest.mark.filterwarnings("ignore:.*[tT]iming.*:DeprecationWarning")
def test_the_classic_path_builds_for_the_gpu_present(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a GPU that is said to be there; the real thing is unverified on hardware."""
    from vidtok_edge.runtime.backends.engines.building import targets as engine_targets

    monkeypatch.setattr(engine_build, "load_tensorrt", lambda target: Classic())
    orin = Gpu("Orin", "sm87", 8 << 30)
    monkeypatch.setattr(engine_targets, "present_gpu", lambda: orin)
    plan = plan_engines(BuildRequest(bundle, Target.TENSORRT, ("int8",)))
    [encoder, _] = build_engines(plan)
    assert encoder.path.name == "encoder.int8.tensorrt.sm87.engine"
    assert encoder.sidecar.gpu_name == "Orin" and encoder.sidecar.version == "10.3.0"
    assert "tensorrt.10.3.0.sm87.timing" in files(bundle)
    assert not any(plan_engines(BuildRequest(bundle, Target.TENSORRT, ("int8",))).engines)


# --- without torch and onnx -------------------------------------------------------------------


def test_a_build_needs_neither_torch_nor_onnx(bundle: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxscript', 'av',"
        "'onnxruntime', 'PIL', 'safetensors']));"
        "from vidtok_edge.cli import main;"
        "main(['build', sys.argv[1], '--target', 'tensorrt-rtx', '--gpu', 'sm86'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "int8 94.7 % of the work in 1 of 2 layers (network)" in done.stdout


def test_the_sidecar_is_readable_by_people(bundle: Path) -> None:
    [encoder, _] = build(bundle, "int8")
    facts = json.loads(encoder.path.with_suffix(".json").read_text())
    assert facts["proof"]["shares"][0]["precision"] in ("fp16", "int8")
    assert facts["flags"] == ["STRONGLY_TYPED", "no TF32", "REQUIRE_USER_ALLOCATION"]


def test_an_engine_that_may_allocate_while_it_runs_is_built_again(bundle: Path) -> None:
    """TensorRT-RTX could not be captured on such engines; they were built once."""
    [encoder, _] = build(bundle, "fp16")
    flags = encoder.sidecar.flags[:-1]
    write_sidecar(encoder.path, replace(encoder.sidecar, flags=flags))
    request = BuildRequest(bundle, Target.TENSORRT_RTX, ("fp16",), ("sm86",))
    assert [bool(engine) for engine in plan_engines(request).engines] == [True, False]


def test_tensorrt_rtx_is_told_what_the_sidecar_says(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library: Any = load_tensorrt(Target.TENSORRT_RTX)
    told: list[Any] = []

    def config(*arguments: Any) -> Any:
        told.append(make(*arguments))
        return told[-1]

    make = engine_build.builder_config
    monkeypatch.setattr(engine_build, "builder_config", config)
    build(bundle, "fp16")
    assert told
    for one in told:
        assert one.get_flag(library.BuilderFlag.REQUIRE_USER_ALLOCATION)
        assert not one.get_flag(library.BuilderFlag.TF32)
