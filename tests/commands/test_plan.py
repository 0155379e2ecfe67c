"""`plan` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vidtok_edge.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["plan", *map(str, arguments)], catch_exceptions=False)


NANO = "Orin Nano 8GB"


def rows_of(result: Result, device: str) -> list[str]:
    """The lines of a device in the tables."""
    return [line for line in result.output.splitlines() if line.startswith(device + "  ")]


@pytest.mark.slow
def test_several_sizes_in_one_table_and_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    result = run(
        "--variant", "fsq", "--size", "64x64,720x1280", "--precision", "fp32,int8", "--json", file
    )
    assert result.exit_code == 0, result.output
    assert "Bounds, no forecasts" in result.output
    assert max(map(len, result.output.splitlines())) <= 100
    fp32, _ = rows_of(result, NANO)
    assert "late" in fp32 and "too small: 720x1280" in fp32
    titles = [line.split() for line in result.output.splitlines() if "ms at least" in line]
    assert [(t[0], t[4:6]) for t in titles] == [
        ("fp32,", ["64x64", "720x1280"]),
        ("int8,", ["64x64", "720x1280"]),
    ]
    small, large = json.loads(file.read_text())
    [cost] = small["costs"]["fp32"]
    assert cost["memory"] == sum(
        cost[name] for name in ("weights", "caches", "caches", "host", "activations")
    )
    assert large["bounds"][NANO]["fp32"]["ms"] > large["rates"]["period_ms"], "late"
    assert large["bounds"][NANO]["fp32"]["late"] and not small["bounds"]["H200"]["fp32"]["late"]
    assert not large["bounds"][NANO]["fp32"]["fits"] and small["bounds"][NANO]["fp32"]["fits"]


@pytest.mark.slow
def test_precisions_of_one_size_in_one_table() -> None:
    result = run(
        "--variant", "vidtok_fsq_causal_488_32768_tiny", "--size", "64x64", "--graphs", "both"
    )
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 100
    assert "form conv2d" in result.output and "note:" not in result.output
    assert all(f"{graph}.int8" in result.output for graph in ("encoder", "decoder"))
    (row,) = rows_of(result, NANO)
    assert row.endswith("may suffice") and "https://" not in result.output


def test_which_model_is_planned_where_export_takes_another() -> None:
    result = run("--variant", "fsq", "--size", "64x64", "--precision", "fp32", "--sources")
    first, _, note = result.output.splitlines()[:3]
    assert first.startswith("vidtok_fsq_causal_488_32768_v1_1,") and note.startswith("note:")
    assert "--variant vidtok_fsq_causal_488_32768_tiny" in result.output
    assert result.output.count("fp16 TFLOPS") == 22, "of every device, with its source"


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    """And said before anything is counted."""
    file = tmp_path / "plan.json"
    file.write_text("precious")
    options = ["--variant", "fsq", "--size", "64x64", "--precision", "fp32"]
    result = run(*options, "--json", file)
    assert result.exit_code == 2 and "--force" in result.output and "device" not in result.output
    assert file.read_text() == "precious"
    nowhere = run(*options, "--json", tmp_path / "none" / "plan.json")
    assert nowhere.exit_code == 4 and "does not exist" in nowhere.output
    assert "multiply-adds" not in nowhere.output
    assert run(*options, "--json", file, "--force").exit_code == 0
    assert json.loads(file.read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "fsq", "--size", "64x64,100x"], "is not a size"),
        (["--variant", "fsq", "--size", "100x100"], "100"),
        (["--variant", "gsq"], "gsq"),
        (["--variant", "fsq", "--fps", "0"], "0"),
        (["--variant", "fsq", "--fps", "nan"], "no number"),
        (["--variant", "fsq", "--fps", "inf"], "no number"),
        (["--variant", "fsq", "--size", "800000x800000"], "at most 4294967296 can be planned"),
        (["--variant", "fsq", "--streams", "1000000"], "Name a smaller size"),
    ],
)
def test_what_cannot_be_planned(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output
