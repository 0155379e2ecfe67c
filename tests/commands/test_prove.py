"""`vidtok-edge prove` as a person meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_golden import write_tiny_golden
from wrong_graphs import FAULTS, spoil

from vidtok_edge.cli import main
from vidtok_edge.runtime.proofs import PROOFS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prove", *map(str, arguments)])


@pytest.fixture
def golden(tiny: Path) -> Path:
    """A tiny bundle with a golden stream."""
    write_tiny_golden(tiny)
    return tiny


def test_a_bundle_that_passes(golden: Path) -> None:
    done = run(golden, "--backend", "cpu", "--threads", "1")
    assert done.exit_code == 0, done.output
    assert "cpu.fp32." in done.stdout and ": passed" in done.stdout
    assert "100.00% of the tokens" in done.stdout and "99.0 dB" in done.stdout
    [path] = (golden / PROOFS).iterdir()
    assert str(path) in done.stdout
    assert json.loads(path.read_text())["verdict"] == "passed"


def test_a_bundle_that_fails_says_what_differs_first_and_exits_1(golden: Path) -> None:
    spoil(golden, "encoder", FAULTS["start"])
    done = run(golden)
    assert done.exit_code == 1
    assert ": failed" in done.stdout
    assert "does not give what it should. cpu.fp32." in done.stderr
    assert "encoder, latent 0 (start): 4 of 4 tokens are not the reference's" in done.stderr
    [path] = (golden / PROOFS).iterdir()
    assert json.loads(path.read_text())["verdict"] == "failed"


@pytest.mark.parametrize(("fault", "code"), [(None, 0), ("start", 1)])
def test_a_bundle_that_cannot_be_written_is_proven_all_the_same(
    golden: Path, fault: str | None, code: int
) -> None:
    (golden / PROOFS).write_text("in the way")
    if fault:
        spoil(golden, "decoder", FAULTS[fault])
    done = run(golden)
    assert done.exit_code == code
    assert "the proof is not kept:" in done.stderr
    assert (": failed" if code else ": passed") in done.stdout
    assert (golden / PROOFS).read_text() == "in the way"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--backend coreml", 2, "There is no backend 'coreml'"),
        ("--backend tensorrt", 4, "none was found here"),
        ("--precision int8", 3, "has no encoder graph in int8"),
        ("--report --precision fp32", 2, "leave the other options out"),
        ("--report", 3, "holds no proof. Make one with: vidtok-edge prove"),
    ],
)
def test_what_cannot_be_proven(
    golden: Path, arguments: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.backends.engines.step.present_gpu", lambda: None)
    done = run(golden, *arguments.split())
    assert done.exit_code == code, done.output
    assert said in done.stderr


def test_a_bundle_of_before_runs_and_is_not_proven(tiny: Path) -> None:
    done = run(tiny)
    assert done.exit_code == 3
    assert "has no golden stream" in done.stderr and "Export the bundle again." in done.stderr


def test_all_proofs_on_a_page(golden: Path) -> None:
    assert run(golden).exit_code == 0
    [path] = (golden / PROOFS).iterdir()
    other = path.read_text().replace('"cpu"', '"tensorrt"').replace("AMD", "<b>|AMD")
    (golden / PROOFS / "tensorrt.fp32.sm87.json").write_text(other)
    (golden / PROOFS / "cuda.fp32.sm87.json").write_text("{}")
    done = run(golden, "--report")
    assert done.exit_code == 0, done.output
    page = (golden / PROOFS / "report.md").read_text()
    assert page.count("| passed |") == 2 and "## Not read" in page
    assert "<b>" not in page
    document = json.loads((golden / PROOFS / "report.json").read_text())
    assert [proof["backend"] for proof in document["proofs"]] == ["cpu", "tensorrt"]
    assert len(document["damaged"]) == 1
    assert run(golden, "--report").exit_code == 0, "what it wrote is no proof"


def test_it_needs_numpy_and_the_backend_alone(golden: Path) -> None:
    absent = ["torch", "onnx", "onnxscript", "av", "PIL", "safetensors", "psutil", "mcap"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        f"from vidtok_edge.cli import main; main(['prove', {str(golden)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ": passed" in done.stdout


@pytest.mark.xdist_group("golden_bundle")
def test_it_is_done_in_seconds(golden_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden_bundle, tmp_path / "bundle"))
    done = run(folder)
    assert done.exit_code == 0, done.output
    assert "22 latents, all of its reach" in done.stdout
    assert "35 latents, all of its reach" in done.stdout
