"""`vidtok-edge calibrate` as a person meets it, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from clips import make_clip

from vidtok_edge.calib.int8 import PLACEMENTS
from vidtok_edge.calib.policy import POLICY
from vidtok_edge.calib.ranges import RANGES
from vidtok_edge.cli import main
from vidtok_edge.errors import OutputNotWritable
from vidtok_edge.export import recalibration
from vidtok_edge.export.bundle_files import write_manifest
from vidtok_edge.export.recalibration import RecalibrationRequest, recalibrate
from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.loss import Limits
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.runtime import Bundle

if TYPE_CHECKING:
    from vidtok_edge.export import Exported

pytestmark = pytest.mark.xdist_group("precisions")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["calibrate", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def folder(precisions: Exported, tmp_path: Path) -> Path:
    """A bundle of 32x48 in every precision, the test's own."""
    return Path(shutil.copytree(precisions.bundle.path, tmp_path / "bundle"))


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What verification says of the loss, in dB; it has tests of its own, and takes long."""
    loss_db = [0.1]

    def verify(
        bundle: Bundle, checkpoint: str | None, **more: Mapping[str, Limits]
    ) -> ParityReport:
        limit = more["limits"]["int8"].loss_db
        assert limit is not None
        comparison = Comparison(name="int8", metric="PSNR lost", value=loss_db[0], limit=limit)
        report = ParityReport(bundle.manifest.model.variant, "none", (comparison,))
        write_manifest(bundle.path, replace(bundle.manifest, verified=bool(report)))
        return report

    monkeypatch.setattr(recalibration, "verify_written", verify)
    return loss_db


def test_a_budget_takes_layers_back_and_the_bundle_says_so(
    folder: Path, verdict: list[float]
) -> None:
    before = Bundle.load(folder).manifest
    result = run(
        folder,
        "--frames",
        9,
        "--method",
        "minmax",
        "--policy",
        "*=float",
        "--policy",
        "encoder.down.*=int8",
        "--policy",
        "decoder.mid.block*=int8",
        "--budget-tokens",
        0.98,
        "--budget-db",
        0.4,
    )
    assert result.exit_code == 0, result.output
    for part in (
        "not reused: their method is mse, minmax is wanted",
        "tokens equal",
        "sensitivity.json",
        "int8_mix.png",
        "policy.json",
        "layers in INT8",
    ):
        assert part in result.output, part
    bundle = Bundle.load(folder, check_hashes=True)
    assert bundle.verified
    assert [g.name for g in bundle.manifest.graphs] == [g.name for g in before.graphs]
    kept = [g for g in bundle.manifest.graphs if g.precision != "int8"]
    assert kept == [g for g in before.graphs if g.precision != "int8"]
    report = json.loads((folder / "reports" / "sensitivity.json").read_text())
    chosen = report["chosen"]
    assert chosen["tokens_equal"] >= 0.97 and chosen["loss_db"] <= 0.4
    assert (report["clip"], report["frames"]) == ("clip_robot.mp4", 9)
    for placement in PLACEMENTS:
        graphs = [bundle.manifest.graph(kind, "int8", placement) for kind in KINDS]
        layers = [layer for graph in graphs for layer in graph.int8_layers]
        assert layers == chosen["layers"]
        assert 0 < len(layers) < len(report["layers"])
    policy = json.loads((folder / POLICY).read_text())
    assert [name for name, level in policy["layers"].items() if level == "int8"] == layers
    assert len(onnx.load(folder / graphs[0].file).graph.node) > 100
    assert not [path for path in folder.rglob("*") if ".part" in path.name or "new" in path.name]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    result = run(folder, "--dry-run", "--budget-db", 0.5)
    assert result.exit_code == 0, result.output
    assert "would be reused: nothing changed since they were stored" in result.output
    assert "layers in INT8" in result.output
    assert "until there is a loss of 0.5 dB at most" in result.output
    other = run(folder, "--dry-run", "--frames", 8)
    assert "not reused: they took 33 frames of each clip, 8 frames are wanted" in other.output
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--data", "empty"], 3, "holds no clips: no file in it"),
        (["--data", "broken"], 3, "0 of 2 clips can be used; at least half are needed"),
        (["--data", "short.mkv"], 3, "short.mkv has 3 frames; a chunk has 4. Use a longer clip."),
        (["--data", "gone"], 3, "gone does not exist. Name a folder of clips"),
        (["--frames", "2"], 2, "2 frames of each clip were asked for; a chunk has 4"),
        (["--policy", "decoder.mod.*=float"], 2, "No layer matches 'decoder.mod.*'"),
        (["--policy", "decoder.mid.*"], 2, "is no rule. Write PATTERN=LEVEL"),
        (["--policy", "*=float"], 2, "The policy leaves no layer in INT8"),
        (["--budget-db", "-1"], 2, "--budget-db is -1; allowed: 0 dB or more"),
        (["--budget-tokens", "90"], 2, "For 90 % write 0.9"),
        (["--percentile", "99"], 2, "goes with --method percentile only"),
        (["--method", "percentile", "--percentile", "20"], 2, "allowed: above 50, at most 100"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused_with_what_would_work(
    arguments: list[str],
    code: int,
    sentence: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken").mkdir()
    for name in "ab":
        Path("broken", f"{name}.mp4").write_bytes(b"no clip")
    make_clip(Path("short.mkv"), np.zeros((3, 32, 48, 3), np.uint8), size=(32, 48), codec="ffv1")
    result = run(folder, *arguments)
    assert result.exit_code == code, result.output
    assert sentence in result.output
    assert "Traceback" not in result.output
    assert Bundle.load(folder, check_hashes=True).verified


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data.update(variant="another"), "they are of another, the bundle is"),
        (lambda data: data.update(height=64), "frames of 64x48 (HxW), the bundle takes 32x48"),
        (lambda data: data.update(weights_sha256="1" * 64), "they are of the weights 1111"),
    ],
    ids=["variant", "size", "weights"],
)
def test_ranges_of_something_else_are_not_reused(
    change: Callable[[dict[str, Any]], None], sentence: str, folder: Path
) -> None:
    value = json.loads((folder / RANGES).read_text())
    change(value["data"])
    (folder / RANGES).write_text(json.dumps(value))
    result = run(folder, "--dry-run")
    assert result.exit_code == 0 and sentence in result.output


def test_quality_that_is_lost_is_told(quick: Path, verdict: list[float]) -> None:
    verdict[0] = 0.6
    (quick / ".int8.new.0123abcd.part").mkdir()  # a run that was killed left it
    result = run(quick)
    assert result.exit_code == 1
    assert "has new INT8 graphs and is marked unverified: int8: PSNR lost 0.6, limit 0.5" in (
        " ".join(result.output.split())
    )
    assert not Bundle.load(quick).verified
    assert not list(quick.glob(".*"))
    assert run(quick, "--dry-run").exit_code == 0


# -- interruption: graphs that are there stand in for new ones


@pytest.fixture
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`folder`, where writing INT8 graphs is a matter of copying those it has."""

    def copy(model: object, options: object, place: Path, *rest: object) -> Bundle:
        manifest = Bundle.load(folder).manifest
        graphs = tuple(graph for graph in manifest.graphs if graph.precision == "int8")
        for graph in graphs:
            for file in (graph.file, graph.data_file):
                shutil.copy(folder / file, place / file)
        return write_manifest(place, replace(manifest, graphs=graphs))

    monkeypatch.setattr(recalibration, "write_graphs", copy)
    return folder


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("moves", [0, 1, 5])
def test_an_interruption_leaves_a_bundle_that_loads(
    moves: int, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [moves]
    move = os.replace

    def stop(source: Path, target: Path) -> None:
        if "int8" in Path(target).name:
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted
        move(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(Interrupted):
        recalibrate(Bundle.load(quick), RecalibrationRequest())
    bundle = Bundle.load(quick, check_hashes=True)
    assert "int8" not in bundle.manifest.precisions and not bundle.verified
    assert bundle.manifest.precisions == ("fp32", "fp16")


def test_an_interruption_while_graphs_are_written_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> Bundle:
        raise Interrupted

    monkeypatch.setattr(recalibration, "write_graphs", stop)
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(Interrupted):
        recalibrate(Bundle.load(folder), RecalibrationRequest())
    assert (folder / "manifest.json").read_bytes() == before
    assert Bundle.load(folder, check_hashes=True).verified
    assert not list(folder.glob(".*")) and not (folder / "int8.new").exists()


def test_files_that_cannot_be_moved_are_told(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(target).suffix == ".data":
            raise PermissionError(13, "Permission denied", str(source))
        move(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputNotWritable, match=r"cannot be moved .* left without INT8 graphs"):
        recalibrate(Bundle.load(quick), RecalibrationRequest())
    Bundle.load(quick, check_hashes=True)


def test_help_works_with_no_extra_installed() -> None:
    absent = ["torch", "onnx", "onnxruntime", "matplotlib", "av", "PIL"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        "from vidtok_edge.cli import main; main(['calibrate', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--budget-tokens" in done.stdout


@pytest.mark.slow
def test_matplotlib_is_only_there_when_it_is_used() -> None:
    code = "import sys, vidtok_edge.calib; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
