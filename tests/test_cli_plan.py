"""`plan` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vidtok_edge.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["plan", *map(str, arguments)], catch_exceptions=False)


def test_several_sizes_at_once_and_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    result = run("--variant", "fsq", "--size", "64x64,720x1280", "--graphs", "both", "--json", file)
    assert result.exit_code == 0, result.output
    assert result.output.count("Orin Nano 8GB Super") == 2
    assert "Bounds, no forecasts" in result.output
    assert max(map(len, result.output.splitlines())) <= 100
    small, large = json.loads(file.read_text())
    assert len(small["costs"]["int8"]) == 2
    nano = "Orin Nano 8GB"
    assert large["bounds"][nano]["fp32"]["ms"] > large["rates"]["period_ms"], "late"
    assert large["bounds"][nano]["fp32"]["late"] and not small["bounds"]["H200"]["fp32"]["late"]
    assert not large["bounds"][nano]["fp32"]["fits"] and small["bounds"][nano]["fp32"]["fits"]
    [line] = [part for part in result.output.splitlines() if part.startswith(nano + "  ")][1:]
    assert "late" in line and "too small: fp32" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "fsq", "--size", "64x64,100x"], "is not a size"),
        (["--variant", "fsq", "--size", "100x100"], "100"),
        (["--variant", "gsq"], "gsq"),
        (["--variant", "fsq", "--fps", "0"], "0"),
    ],
)
def test_what_cannot_be_planned(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output
