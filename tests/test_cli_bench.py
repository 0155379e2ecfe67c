"""`bench` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vidtok_edge.cli import main

QUICK = ["--seconds", "0.3", "--warmup", "0", "--backend", "cpu"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def test_a_paced_run_prints_its_tables_and_writes_both_files(tiny: Path, tmp_path: Path) -> None:
    files = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html"]
    result = run("bench", tiny, "--paced", 100, "--policy", "drop-oldest", *QUICK, *files)
    assert result.exit_code == 0, result.output
    for text in (
        "paced: cameras at 100 frames/s, 8 wait at most, then drop-oldest",
        "1. bundle cpu fp32",
        "p99.9",
        "Speed and backlog",
        "The machine meanwhile",
    ):
        assert text in result.output
    assert "Against" not in result.output, "there is nobody to compare with"
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["settings"]["pace"] == {"fps": 100.0, "policy": "drop-oldest", "capacity": 8}
    assert document["settings"]["rounds"] == 1
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    again = run("bench", tiny, *QUICK, *files)
    assert again.exit_code == 2 and "exists already" in again.output
    assert "Latency of a latent" not in again.output, "said before anything was measured"


def test_a_dry_run_lists_the_candidates(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.symlink_to(tiny)
    result = run("bench", tiny, other, "--backend", "cpu,auto", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "saturated" in result.output and "in 8 round(s)" in result.output
    assert "1. bundle cpu fp32  (the others are held to it)" in result.output
    assert "4. other auto fp32" in result.output


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--precision", "int8"], 3, "has no encoder graph in int8"),
        (["--backend", "gpu"], 2, "no backend 'gpu'"),
        (["--seconds", "0"], 2, "seconds is 0"),
        (["--paced", "-3"], 2, "fps is -3"),
        (["--clip", "gone.mp4"], 3, "gone.mp4"),
        (["--json", "no/such/folder/a.json"], 4, "does not exist"),
    ],
)
def test_what_cannot_be_measured(tiny: Path, options: list[str], code: int, message: str) -> None:
    result = run("bench", tiny, *options)
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert "Traceback" not in result.output


def test_no_bundle(tmp_path: Path) -> None:
    result = run("bench", tmp_path)
    assert result.exit_code == 3 and "manifest.json" in result.output
