"""TensorRT takes our graphs. A quick choice; `benchmarks/engines.py` builds all of them.

The bundles are those that other tests export anyway.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from export_helpers import Exports, NarrowBundle, golden_bundle, on_one_worker
from narrow import narrow

from vidtok_edge.errors import EngineRefused
from vidtok_edge.export import Exported, bundle_files
from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.lowering.facts import BOTH_FP16
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.building import BuildRequest, build_engines, plan_engines
from vidtok_edge.runtime.backends.engines.building import build as build_module
from vidtok_edge.runtime.backends.engines.building.build import EnginePlan
from vidtok_edge.runtime.manifest.graphs import Precision

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
FLOAT32 = [
    golden_bundle("vidtok_fsq_causal_488_32768_v1_1"),
    golden_bundle("vidtok_kl_causal_288_8chn", "conv3d"),
    golden_bundle("vidtok_fsq_noncausal_488_262144"),
]


def plan(original: Path, folder: Path, precision: Precision, *gpus: str) -> EnginePlan:
    """What to build in a copy of a bundle that tests share."""
    bundle = shutil.copytree(original, folder / "bundle")
    return plan_engines(BuildRequest(bundle, Target.TENSORRT_RTX, (precision,), gpus))


@pytest.mark.parametrize("what", on_one_worker(FLOAT32))
def test_graphs_in_fp32(what: NarrowBundle, exports: Exports, tmp_path: Path) -> None:
    for file in build_engines(plan(exports(what).path, tmp_path, "fp32", "sm86")):
        assert file.sidecar.proof.work_permille("fp32") == 1000


@pytest.mark.slow
def test_the_delay_line_in_fp16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """v1.1 in conv3d: what interpolates and resizes, in decoders, must not fall back to float32."""
    for module in (bundle_files, build_module):
        monkeypatch.setattr(module, "KINDS", ("decoder",))
    options = StepOptions(16, 16, streams=2, form="conv3d")
    model = narrow("vidtok_kl_causal_288_8chn_v1_1", 8)
    write_graphs(model, options, tmp_path, numerics=(BOTH_FP16,))
    request = BuildRequest(tmp_path, Target.TENSORRT_RTX, ("fp16",), ("sm86",))
    for file in build_engines(plan_engines(request)):
        assert file.sidecar.proof.work_permille("fp16") == 1000


@pytest.mark.xdist_group("precisions")
@pytest.mark.parametrize(
    ("precision", "gpus"), [("fp16", ("sm86",)), ("int8", ("sm75", "sm86", "sm120"))]
)
def test_graphs_in_fp16_and_int8(
    precision: Precision, gpus: tuple[str, ...], precisions: Exported, tmp_path: Path
) -> None:
    planned = plan(precisions.bundle.path, tmp_path, precision, *gpus)
    built = build_engines(planned)
    assert len(built) == 2 * len(gpus)
    for engine, file in zip(planned.engines, built, strict=True):
        proof, graph = file.sidecar.proof, engine.graph
        assert proof.work_permille("fp16", "int8") == 1000
        assert proof.layers("int8") >= len(graph.int8_layers)
        assert (proof.work_permille("int8") > 700) == (precision == "int8")


@pytest.mark.parametrize("what", on_one_worker(FLOAT32[:1]))
def test_turing_has_no_attention_in_fp32(
    what: NarrowBundle, exports: Exports, tmp_path: Path
) -> None:
    with pytest.raises(EngineRefused, match=r"FP32 GEMM is not supported.*build those"):
        build_engines(plan(exports(what).path, tmp_path, "fp32", "sm75"))
