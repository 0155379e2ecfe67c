"""An export is a whole bundle or nothing, and says which it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import helper

from vidtok_edge.errors import (
    BundleFileChanged,
    CheckpointError,
    OutputExists,
    UnknownVariant,
    UnsupportedSize,
    UsageError,
)
from vidtok_edge.export import (
    Comparison,
    ExportRequest,
    ParityReport,
    bundle_export,
    bundle_files,
    export_bundle,
    plan_export,
)
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.interface import interface_of
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.variants import EMBEDDED, SHORT_NAMES, VARIANTS
from vidtok_edge.vidtok_ref import embedded_file, load_weights

SMALL = StepOptions(64, 64)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where to export to, in a folder that holds nothing else."""
    yield tmp_path / "bundle"


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def quick_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are two small files that nobody opens: what surrounds them is tested."""

    def write(step: object, interface: object, path: Path, *more: object) -> None:
        node = helper.make_node("Identity", ["x"], ["y"])
        graph = helper.make_graph([node], "graph", [], [])
        onnx.save_model(helper.make_model(graph, ir_version=10), path)
        path.with_name(path.name + ".data").write_bytes(b"weights")

    monkeypatch.setattr(bundle_files, "write_graph", write)
    monkeypatch.setattr(bundle_export, "verify_bundle", lambda bundle, model: GOOD)
    golden = SimpleNamespace(save=lambda folder: None)
    monkeypatch.setattr(bundle_export, "make_golden", lambda bundle, model: golden)


GOOD = ParityReport("a", "b", (Comparison(name="encode", metric="max", value=0, limit=0),))
BAD = ParityReport("a", "b", (Comparison(name="encode", metric="max", value=1, limit=0),))


@pytest.mark.xdist_group("embedded")
def test_the_shipped_tokenizer_makes_a_verified_bundle(embedded: Bundle) -> None:
    bundle = Bundle.load(embedded.path, check_hashes=True)
    manifest = bundle.manifest
    assert manifest.verified
    assert (manifest.model.variant, manifest.weights.source) == (EMBEDDED.name, "embedded")
    assert manifest.weights.sha256 == load_weights("fsq", None)[1].sha256
    assert everything_in(bundle.path) == [
        "decoder.fp32.onnx",
        "decoder.fp32.onnx.data",
        "encoder.fp32.onnx",
        "encoder.fp32.onnx.data",
        "golden",
        "golden/golden.json",
        "golden/golden.npz",
        "manifest.json",
        "reports",
        "reports/parity.json",
    ]
    report = json.loads((bundle.path / "reports" / "parity.json").read_text())
    assert report["passed"] and {"torch", "onnx", "onnxruntime", "toolkit"} <= set(report)
    assert not list(bundle.path.parent.glob(".*")), "nothing half-written is left"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_graphs")
def test_a_changed_file_is_noticed(place: Path) -> None:
    export_bundle(ExportRequest(variant="fsq", output=place, options=SMALL))
    Bundle.load(place, check_hashes=True)
    (place / "decoder.fp32.onnx.data").write_bytes(b"Weights")
    with pytest.raises(BundleFileChanged, match=r"decoder\.fp32\.onnx\.data"):
        Bundle.load(place, check_hashes=True)


@pytest.mark.usefixtures("quick_graphs")
def test_a_bundle_can_be_moved(place: Path) -> None:
    export_bundle(ExportRequest(variant="fsq", output=place, options=SMALL))
    assert str(place) not in (place / "manifest.json").read_text()
    moved = place.rename(place.with_name("elsewhere"))
    assert Bundle.load(moved, check_hashes=True).manifest.verified


@pytest.mark.slow
@pytest.mark.usefixtures("quick_graphs")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("stage", ["write_graph", "verify_bundle"])
def test_an_interrupted_export_leaves_nothing(
    stage: str, error: type[BaseException], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        assert everything_in(place.parent)  # it did begin
        raise error("in the middle")

    monkeypatch.setattr(bundle_files if stage == "write_graph" else bundle_export, stage, fail)
    with pytest.raises(error, match="in the middle"):
        export_bundle(ExportRequest(variant="fsq", output=place, options=SMALL))
    assert everything_in(place.parent) == []


@pytest.mark.usefixtures("quick_graphs")
def test_an_interrupted_replacement_keeps_the_old_bundle(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ExportRequest(variant="fsq", output=place, options=SMALL)
    export_bundle(request)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_files, "write_graph", fail)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(replace(request, force=True))
    after = {path: path.read_bytes() for path in place.parent.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
@pytest.mark.usefixtures("quick_graphs")
def test_a_bundle_is_replaced_only_by_force(place: Path) -> None:
    request = ExportRequest(variant="fsq", output=place, options=SMALL)
    export_bundle(request)
    with pytest.raises(OutputExists):
        export_bundle(request)
    assert Bundle.load(place).manifest.width == 64
    other = request.with_options(StepOptions(64, 96))
    export_bundle(replace(other, force=True))
    assert Bundle.load(place).manifest.width == 96
    assert [path.name for path in place.parent.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("quick_graphs")
def test_a_folder_of_something_else_is_not_replaced(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_text("three years")
    with pytest.raises(UsageError, match="not replaced"):
        export_bundle(ExportRequest(variant="fsq", output=place, options=SMALL, force=True))
    assert everything_in(place.parent) == ["bundle", "bundle/thesis.txt"]


@pytest.mark.usefixtures("quick_graphs")
def test_a_failed_verification_is_written_as_such(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_export, "verify_bundle", lambda bundle, model: BAD)
    exported = export_bundle(ExportRequest(variant="fsq", output=place, options=SMALL))
    assert not exported.report
    assert not Bundle.load(place).manifest.verified
    assert not json.loads((place / "reports" / "parity.json").read_text())["passed"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_graphs")
def test_other_forms_lie_in_the_bundle_each_with_its_own_verdict(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [GOOD, BAD]
    monkeypatch.setattr(bundle_export, "verify_bundle", lambda bundle, model: reports.pop(0))
    exported = export_bundle(
        ExportRequest(
            variant="fsq",
            output=place,
            options=replace(SMALL, form="conv2d"),
            other_forms=("conv3d",),
        )
    )
    assert exported.report and not exported.other_reports[0]
    [form] = exported.bundle.other_forms(check_hashes=True)
    assert (exported.bundle.verified, form.verified) == (True, False)
    assert {graph.form for graph in exported.bundle.manifest.graphs} == {"conv2d"}
    assert {graph.form for graph in form.manifest.graphs} == {"conv3d"}


@pytest.mark.parametrize("forms", [("channels_last", "conv2d"), ("conv3d", "channels_last")])
def test_the_form_of_onnx_runtime_stands_alone(
    forms: tuple[FormName, FormName], place: Path
) -> None:
    options = replace(SMALL, form=forms[0])
    with pytest.raises(UsageError, match=f"stands alone.*got {', '.join(forms)}.*conv2d,conv3d"):
        ExportRequest(variant="fsq", output=place, options=options, other_forms=forms[1:])


@pytest.mark.usefixtures("quick_graphs")
def test_stages_are_announced(place: Path) -> None:
    seen: list[str] = []

    @contextmanager
    def stage(name: str, path: Path | None) -> Iterator[None]:
        seen.append(name)
        yield
        seen.append("/" + name)

    export_bundle(ExportRequest(variant="fsq", output=place, options=SMALL), stage)
    names = ["weights", "encoder.fp32.onnx", "decoder.fp32.onnx", "verification", "golden stream"]
    assert seen == [mark + name for name in names for mark in ("", "/")]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_graphs")
def test_random_weights_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    hashes = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        request = ExportRequest(
            variant=EMBEDDED.name,
            output=tmp_path / name,
            checkpoint="random",
            options=SMALL,
            seed=seed,
        )
        weights = export_bundle(request).bundle.manifest.weights
        assert (weights.source, weights.location) == ("random", f"seed {seed}")
        hashes[name] = weights.sha256
    assert hashes["a"] == hashes["b"] != hashes["c"]


def test_a_plan_needs_no_weights_and_writes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_export, "load_weights", None)
    plan = plan_export(ExportRequest(variant="kl", output=place, checkpoint="random"))
    assert plan.variant == VARIANTS[SHORT_NAMES["kl"]]
    assert plan.decoder == interface_of(plan.variant, StepOptions(), "decoder")
    # Parameters in millions: docs/model.md, section 5.3.
    millions = {kind: n / 4 / 1e6 for kind, n in plan.weight_bytes.items()}
    assert millions == pytest.approx({"encoder": 69.6, "decoder": 88.4}, abs=0.1)
    assert everything_in(place.parent) == []


def test_a_plan_looks_at_the_checkpoint(place: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file nowhere\.ckpt"):
        plan_export(ExportRequest(variant="kl", output=place, checkpoint="nowhere.ckpt"))
    path = str(embedded_file(f"{EMBEDDED.name}.safetensors"))
    plan = plan_export(ExportRequest(variant=EMBEDDED.name, output=place, checkpoint=path))
    assert plan.notes == () and everything_in(place.parent) == []


def test_fsq_alone_is_the_shipped_tokenizer(place: Path) -> None:
    assert ExportRequest(variant="fsq", output=place).resolved is EMBEDDED
    assert (
        ExportRequest(variant="fsq", output=place, checkpoint="hub").resolved
        == VARIANTS[SHORT_NAMES["fsq"]]
    )


@pytest.mark.parametrize(
    ("request_", "error", "match"),
    [
        (
            ExportRequest(variant="fsq", output=Path(), options=StepOptions(60, 64)),
            UnsupportedSize,
            "multiples of 8",
        ),
        (
            ExportRequest(variant="fsq", output=Path(), options=StepOptions(64, 64, chunk=0)),
            UsageError,
            "--chunk",
        ),
        (ExportRequest(variant="vidtok", output=Path()), UnknownVariant, "no variant 'vidtok'"),
        (
            ExportRequest(variant="kl", output=Path()),
            UsageError,
            "No weights .* ship with the package",
        ),
        (
            ExportRequest(variant="kl", output=Path(), checkpoint="no.ckpt"),
            CheckpointError,
            "no.ckpt",
        ),
        (
            ExportRequest(variant="kl", output=Path(), checkpoint="random", seed=-1),
            UsageError,
            "0 or more, got -1",
        ),
    ],
)
def test_a_wrong_request_writes_nothing(
    request_: ExportRequest, error: type[Exception], match: str, place: Path
) -> None:
    with pytest.raises(error, match=match):
        export_bundle(replace(request_, output=place))
    assert everything_in(place.parent) == []


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"ema": True}, "--ema is for weights from a file"),
        ({"ema": True, "checkpoint": "random"}, "--ema is for weights from a file"),
        ({"seed": 3}, "--seed is of --checkpoint random"),
        ({"seed": 3, "checkpoint": "hub"}, "--seed is of --checkpoint random"),
    ],
)
def test_what_would_be_ignored_is_refused_at_once(weights: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ExportRequest(variant="fsq", output=Path(), **weights)
