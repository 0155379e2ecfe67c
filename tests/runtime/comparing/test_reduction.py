"""`polygraphy debug reduce` leaves the layer with the fault, whole and by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from layered_bundle import shuffled_kernel
from wrong_graphs import spoil

from vidtok_edge.errors import CheckFailed, OutputExists
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.comparing.compare import Comparison, Looked, compare, look_into, reduce
from vidtok_edge.runtime.comparing.side import sides_of

pytest.importorskip("polygraphy", reason="the extra debug is not installed")
pytest.importorskip("onnx_graphsurgeon", reason="the extra debug is not installed")

MARKER = "reduction.json"


def looked_into(folder: Path) -> tuple[Comparison, Looked]:
    sides = sides_of([Bundle.load(folder)], ["cpu:fp32", "cpu:int8"])
    comparison = compare(sides, threads=1)
    return comparison, look_into(comparison)


def test_a_planted_fault_is_found_by_name(layered: Path, tmp_path: Path) -> None:
    spoil(layered, "encoder", shuffled_kernel("b"), "int8")
    output = tmp_path / "reduced"
    result = reduce(*looked_into(layered), output)
    assert "encoder.b" in result.nodes
    assert {name.partition("/")[0] for name in result.nodes} == {"encoder.b"}
    assert len(result.nodes) < result.nodes_before / 2
    assert [figure.leaving.layer for figure in result.layers] == ["encoder.b"]
    assert set(result.inputs) == {"a_on", "cache_000", "start"}
    assert result.checks > 2
    facts = json.loads((output / MARKER).read_text())
    assert facts["nodes"] == list(result.nodes)
    with np.load(output / "inputs.npz") as inputs, np.load(output / "expected.npz") as expected:
        session = ort.InferenceSession(output / "reduced.onnx", providers=["CPUExecutionProvider"])
        [got] = session.run(None, dict(inputs))
        [wanted] = expected.values()
    error = float(np.mean((got - wanted) ** 2) / np.mean(wanted**2))
    assert error > 0.1, "what was written fails by itself"
    onnx.checker.check_model(str(output / "reduced.onnx"))
    left = {path.name for path in output.iterdir()}
    assert left == {MARKER, "reduced.onnx", "inputs.npz", "expected.npz"}


def test_nothing_is_reduced_where_no_layer_loses(layered: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="No layer loses enough"):
        reduce(*looked_into(layered), tmp_path / "reduced")
    assert not (tmp_path / "reduced").exists()


def test_what_is_there_stays_and_a_check_that_cannot_run_is_told(
    layered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(layered, "encoder", shuffled_kernel("d"), "int8")
    looked = looked_into(layered)
    output = tmp_path / "reduced"
    output.mkdir()
    (output / "mine").touch()
    with pytest.raises(OutputExists):
        reduce(*looked, output)
    written = "vidtok_edge.runtime.comparing.reduction_case.write_document"
    monkeypatch.setattr(written, lambda path, content: None)
    with pytest.raises(CheckFailed, match=r"A reduced graph cannot be run: .*case\.json"):
        reduce(*looked, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_check_is_a_program_of_its_own(tmp_path: Path) -> None:
    """What goes wrong in it is no graph that fails, and is not lost."""
    command = [sys.executable, "-m", "vidtok_edge.runtime.comparing.check"]
    done = subprocess.run([*command, str(tmp_path), "none.onnx"], capture_output=True, check=False)
    assert done.returncode == 0
    assert "case.json" in (tmp_path / "error.txt").read_text()
