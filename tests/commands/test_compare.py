"""`vidtok-edge compare` as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from layered_bundle import shuffled_kernel
from wrong_graphs import spoil

from vidtok_edge.cli import main

INT8 = ("--backends", "cpu:fp32,cpu:int8", "--threads", "1")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture
def faulty(layered: Path) -> Path:
    """One with a fault in an INT8 kernel."""
    spoil(layered, "encoder", shuffled_kernel("b"), "int8")
    return layered


def test_two_that_do_not_differ(layered: Path) -> None:
    done = run(layered, *INT8)
    assert done.exit_code == 0, done.output
    assert "cpu:int8 of bundle, held to cpu:fp32 of bundle: nothing differs" in done.stdout
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if "dB" in line}
    assert set(rows) == {"encoder", "decoder"}
    assert "% of the tokens" in rows["encoder"]


def test_two_that_differ_say_where_first_and_exit_1(faulty: Path) -> None:
    done = run(faulty, *INT8)
    assert done.exit_code == 1
    assert ": they differ" in done.stdout
    assert "cpu:int8 of bundle differs from cpu:fp32 of bundle. encoder, call 0 (start): " in (
        done.stderr
    )
    assert "the same command with --layers" in done.stdout


def test_the_layer_is_named(faulty: Path) -> None:
    pytest.importorskip("polygraphy", reason="the extra debug is not installed")
    done = run(faulty, *INT8, "--layers", "--worst", "3")
    assert done.exit_code == 1
    assert "the first layer that loses too much: encoder.b, " in done.stdout
    assert "the layer that loses most: encoder.b, " in done.stdout
    table = done.stdout.partition("came in")[2].partition("the first layer")[0]
    assert len(table.splitlines()[1:]) == 3
    assert "[I]" not in done.output and "[E]" not in done.output, "Polygraphy is silent"


def test_the_graph_is_reduced_to_that_layer(faulty: Path, tmp_path: Path) -> None:
    pytest.importorskip("polygraphy", reason="the extra debug is not installed")
    pytest.importorskip("onnx_graphsurgeon", reason="the extra debug is not installed")
    output = tmp_path / "reduced"
    done = run(faulty, *INT8, "--bisect", "--output", output)
    assert done.exit_code == 1, done.output
    assert "nodes are left, after " in done.stdout
    assert "\n  encoder.b\n" in done.stdout
    assert str(output) in done.stdout
    nodes = json.loads((output / "reduction.json").read_text())["nodes"]
    assert {node.partition("/")[0] for node in nodes} == {"encoder.b"}


def test_nothing_is_reduced_where_nothing_differs(layered: Path, tmp_path: Path) -> None:
    pytest.importorskip("polygraphy", reason="the extra debug is not installed")
    done = run(layered, *INT8, "--bisect", "--output", tmp_path / "reduced")
    assert done.exit_code == 0, done.output
    assert "no layer loses more than it may" in done.stdout
    assert "there is nothing to reduce" in done.stdout
    assert not (tmp_path / "reduced").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--backends cpu,cpu", 2, "Both sides are cpu of bundle"),
        ("--backends cpu:fp32,coreml", 2, "There is no backend 'coreml'"),
        ("--backends cpu:fp32,cpu:fp16", 3, "has no encoder graph in fp16"),
        ("--backends cpu:fp32,cpu:int8 --bisect", 2, "into --output FOLDER: give both"),
        ("--backends cpu:fp32,cpu:int8 --output x", 2, "into --output FOLDER: give both"),
        ("", 2, "Missing option '--backends'"),
    ],
)
def test_what_cannot_be_compared(layered: Path, arguments: str, code: int, said: str) -> None:
    done = run(layered, *arguments.split())
    assert done.exit_code == code, done.output
    assert said in done.stderr


ABSENT = ["torch", "onnx", "onnxscript", "av", "PIL", "safetensors", "polygraphy"]


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [([], 0, ""), (["--layers"], 4, 'Install it with: pip install "vidtok-edge[debug]"')],
)
def test_streams_need_numpy_alone_and_layers_the_extra(
    layered: Path, option: list[str], code: int, said: str
) -> None:
    arguments = ["compare", str(layered), *INT8, *option]
    code_ = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT}));"
        f"from vidtok_edge.cli import main; main({arguments})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code_], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
