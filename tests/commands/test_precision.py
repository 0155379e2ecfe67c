"""Precisions on the command line: what is refused, what is planned, and the table."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clips import make_clip

from vidtok_edge.cli import main
from vidtok_edge.commands.export import print_precisions
from vidtok_edge.export import Exported
from vidtok_edge.runtime.clips.token_files import TokenFile

pytestmark = pytest.mark.xdist_group("precisions")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.parametrize("value", ["fp8", "", "fp32,int4", ","])
def test_an_unknown_precision_is_refused(value: str, tmp_path: Path) -> None:
    result = run("export", "--variant", "fsq", "--precision", value, "-o", tmp_path / "b")
    assert result.exit_code == 2
    assert "allowed: fp32, fp16, int8" in result.output
    assert not (tmp_path / "b").exists()


def test_a_dry_run_lists_every_precision(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    result = run(
        "export", "--variant", "fsq", "--precision", "fp32,fp16,int8", "--dry-run", "-o", out
    )
    assert result.exit_code == 0
    for name in ("encoder.fp32.onnx", "decoder.fp16.onnx", "encoder.int8.onnx", "int8-tensorrt"):
        assert name in result.output
    assert "16 caches, about 15.3 MB" in result.output
    assert not out.exists()


def test_precisions_side_by_side(precisions: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    print_precisions(precisions)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["fp32", "fp16", "int8", "int8-tensorrt"]
    header, fp32, fp16, *_ = lines[-5:]
    assert "caches MB" in header and "PSNR lost dB" in header
    assert fp32.split()[-3:] == ["-"] * 3 and "of robot, film, hard" in " ".join(lines)
    assert fp16.split()[-1] in ("(robot)", "(film)", "(hard)"), "the worst clip is named"


def test_a_clip_is_encoded_in_the_precision_asked_for(precisions: Exported, tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "tokens.npz"
    make_clip(clip, 6, size=(32, 48))
    result = run("encode", clip, "-b", precisions.bundle.path, "-o", out, "--precision", "int8")
    assert result.exit_code == 0, result.output
    meta = TokenFile.load(out).meta
    assert meta is not None and meta.precision == "int8"
    back = run(
        "decode",
        out,
        "-b",
        precisions.bundle.path,
        "-o",
        tmp_path / "back.mp4",
        "--precision",
        "fp16",
    )
    assert back.exit_code == 0 and "6 frames" in back.output


def test_a_precision_that_the_bundle_lacks_is_refused(precisions: Exported, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_clip(clip, 6, size=(32, 48))
    result = run(
        "encode", clip, "-b", precisions.bundle.path, "-o", tmp_path / "t.npz", "--precision", "fp8"
    )
    assert result.exit_code == 3
    assert "no encoder graph in fp8" in result.output and "encoder.int8" in result.output


def test_verify_fails_where_a_limit_is_passed(precisions: Exported, tmp_path: Path) -> None:
    bundle = shutil.copytree(precisions.bundle.path, tmp_path / "bundle")
    result = run("verify", bundle, "--min-tokens", "0.9999999", "--min-psnr", "150")
    assert result.exit_code == 1
    assert "PSNR against fp32" in result.output and "at least 150" in result.output
    assert "is marked unverified" in result.output
