"""The command line as a person meets it: what it prints, its exit codes, what it leaves behind."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from clips import cut, make_audio, make_clip, make_two_sizes

from vidtok_edge.cli import main
from vidtok_edge.runtime import Bundle

pytestmark = pytest.mark.xdist_group("embedded")  # one worker, so that the bundle is exported once

HIDDEN_MODULES = [
    "torch",
    "onnx",
    "onnxruntime",
    "onnx_ir",
    "onnxscript",
    "av",
    "PIL",
    "safetensors",
    "mcap",
    "rerun",
    "pyarrow",
    "matplotlib",
    "tensorrt",
    "tensorrt_rtx",
    "cuda",
    "pynvml",
    "huggingface_hub",
    "polygraphy",
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def bundle(embedded: Bundle) -> Path:
    """The embedded tokenizer at 64x96; do not change it."""
    return embedded.path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    make_clip(path, 14, size=(80, 100))
    return path


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Whatever the test does, nothing half-written stays."""
    yield
    assert not [p for p in tmp_path.rglob(".*")]


# --- export, verify, variants, doctor ---------------------------------------------------------


def test_an_export_stores_its_parity_report(bundle: Path) -> None:
    report = json.loads((bundle / "reports" / "parity.json").read_text())
    assert report["passed"] is True
    assert {c["name"] for c in report["comparisons"]} >= {
        "encode clip, streamed",
        "decode clip, streamed",
        "encode a prefix",
        "encode, chunks of 1+2+1 latents",
    }
    assert json.loads((bundle / "manifest.json").read_text())["verified"] is True


def test_others_may_read_an_export_as_the_umask_says(bundle: Path) -> None:
    """ONNX writes weights that its owner alone may read."""
    umask = os.umask(0o022)
    os.umask(umask)
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert any(path.suffix == ".data" for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}


def test_dry_run_says_what_it_would_write_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    result = run("export", "--variant", "fsq", "--dry-run", "-o", out)
    assert result.exit_code == 0
    assert "16 caches, 30.5 MB" in result.output
    assert "small tokenizer" in result.output and "--checkpoint hub" in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--variant vidtok_fsq_causal_488_3276", 2, "Did you mean vidtok_fsq_causal_488_32768"),
        ("--variant fsq --size 60x64", 2, "multiples of 8, got 60x64"),
        ("--variant fsq --size 64", 2, "is not a size"),
        ("--variant fsq --streams 0", 2, "--streams must be 1 or more"),
        ("--variant fsq --chunk 0", 2, "--chunk must be 1 or more"),
        ("--variant kl", 2, "--checkpoint hub"),
        ("--variant fsq --checkpoint nowhere.ckpt", 3, "nowhere.ckpt"),
        (
            "--variant vidtok_kl_noncausal_488_4chn --checkpoint random --chunk 2",
            2,
            "windows of 16",
        ),
        ("--size 64x64", 2, "--variant or with --config, one of the two"),
        ("--variant fsq --config a.yaml", 2, "--variant or with --config, one of the two"),
        ("--config a.yaml", 3, "There is no file a.yaml"),
        ("--variant fsq --ema", 2, "--ema is for weights from a file or the hub"),
        ("--variant fsq -o no/such/folder/bundle", 4, "does not exist"),
    ],
)
def test_wrong_exports_say_what_would_work(
    arguments: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("export", *arguments.split())
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert not list(tmp_path.iterdir())


def test_a_conversion_asks_for_consent(tmp_path: Path) -> None:
    result = run("convert", tmp_path / "a.ckpt", "-o", tmp_path / "a.safetensors")
    assert result.exit_code == 2 and "--run-its-code" in result.output
    assert not list(tmp_path.iterdir())


def test_an_existing_bundle_is_refused_without_force(bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    result = run("export", "--variant", "fsq", "--size", "64x64", "-o", bundle)
    assert result.exit_code == 2 and "--force" in result.output
    assert (bundle / "manifest.json").read_bytes() == before


def test_verify_passes_on_what_was_exported(bundle: Path) -> None:
    result = run("verify", bundle)
    assert result.exit_code == 0, result.output
    assert "FAILED" not in result.output and "encode noise, streamed" in result.output


def test_verify_refuses_a_changed_file(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with (copy / "decoder.fp32.onnx.data").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x01\x02\x03")
    result = run("verify", copy)
    assert result.exit_code == 3 and "SHA-256" in result.output


def test_variants_lists_all(tmp_path: Path) -> None:
    result = run("variants")
    assert result.exit_code == 0
    assert len([line for line in result.output.splitlines() if line.startswith("vidtok_")]) == 24


def test_doctor_names_what_is_missing() -> None:
    result = run("doctor")
    assert result.exit_code == 0
    assert "onnxruntime" in result.output and "CPUExecutionProvider" in result.output


# --- clips ------------------------------------------------------------------------------------


def test_encode_then_decode_gives_the_frames_back(bundle: Path, clip: Path, tmp_path: Path) -> None:
    tokens, out = tmp_path / "tokens.npz", tmp_path / "out.mp4"
    result = run("encode", clip, "-b", bundle, "-o", tokens)
    assert result.exit_code == 0, result.output
    assert "14 frames -> 5 latents, 480 tokens" in result.output
    with np.load(tokens) as arrays:
        assert arrays["tokens"].shape == (5, 8, 12)
    result = run("decode", tokens, "-b", bundle, "-o", out)
    assert result.exit_code == 0, result.output
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 14


def test_reconstruct_writes_clip_and_picture(bundle: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.mp4"
    result = run("reconstruct", clip, "-b", bundle, "-o", out)
    assert result.exit_code == 0, result.output
    for word in ("PSNR", "SSIM", "token rate", "bits per pixel", "frames/s"):
        assert word in result.output
    with av.open(str(out)) as container:
        assert container.streams.video[0].width == 96 + 8 + 96
        assert sum(1 for _ in container.decode(video=0)) == 14
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_one_frame_is_enough(bundle: Path, tmp_path: Path) -> None:
    single = tmp_path / "one.mp4"
    make_clip(single, 1, size=(64, 64))
    result = run("reconstruct", single, "-b", bundle, "-o", tmp_path / "out.mp4")
    assert result.exit_code == 0, result.output


def test_a_truncated_clip_is_encoded_as_far_as_it_goes(bundle: Path, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.mp4", tmp_path / "half.mp4"
    make_clip(whole, 60, size=(64, 64), gop=6, options={"movflags": "faststart"})
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    tokens = tmp_path / "tokens.npz"
    result = run("encode", half, "-b", bundle, "-o", tokens)
    assert result.exit_code == 3 and "frames are missing from the file" in result.output
    with np.load(tokens) as arrays:
        frames = json.loads(str(arrays["meta"]))["frames"]
    assert 0 < frames < 60


def test_a_change_of_size_ends_the_tokens_and_is_said(bundle: Path, tmp_path: Path) -> None:
    clip, tokens = make_two_sizes(tmp_path / "a.mkv", (64, 64), (48, 64), 5), tmp_path / "a.npz"
    result = run("encode", clip, "-b", bundle, "-o", tokens)
    assert result.exit_code == 3 and "frame 5 is 48x64 (H x W)" in result.output
    with np.load(tokens) as arrays:
        assert json.loads(str(arrays["meta"]))["frames"] == 5


def test_bad_clips_leave_nothing(bundle: Path, tmp_path: Path, nothing_left: None) -> None:
    text, sound = tmp_path / "text.mp4", tmp_path / "sound.mp4"
    uneven = tmp_path / "uneven.mkv"
    text.write_text("no video")
    make_audio(sound)
    make_clip(uneven, 6, size=(64, 64), times_ms=[0, 20, 90, 100, 300, 310])
    out = tmp_path / "tokens.npz"
    for clip, message in (
        (tmp_path / "absent.mp4", "absent.mp4"),
        (text, "text.mp4"),
        (sound, "no video"),
        (uneven, "variable"),
    ):
        result = run("encode", clip, "-b", bundle, "-o", out)
        assert (result.exit_code, message in result.output) == (3, True), result.output
        assert not out.exists()


def test_a_variable_rate_can_be_sampled(bundle: Path, tmp_path: Path) -> None:
    uneven = tmp_path / "uneven.mkv"
    make_clip(uneven, 6, size=(64, 64), times_ms=[0, 20, 90, 100, 300, 310])
    for fps in ("20", "every-frame"):
        result = run("encode", uneven, "-b", bundle, "-o", tmp_path / f"{fps}.npz", "--fps", fps)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("fps", ["0", "-1", "nan", "inf", "1e9"])
def test_a_rate_that_no_clip_has_is_refused(
    bundle: Path, tmp_path: Path, nothing_left: None, fps: str
) -> None:
    tokens, out = tmp_path / "tokens.npy", tmp_path / "out.mp4"
    np.save(tokens, np.zeros((1, 8, 12), np.int32))
    result = run("decode", tokens, "-b", bundle, "-o", out, "--fps", fps)
    assert (result.exit_code, "allowed: 0.01 to 1000" in result.output) == (2, True), result.output
    assert not out.exists()


def test_bad_tokens_are_refused(bundle: Path, clip: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.npz"
    assert run("encode", clip, "-b", bundle, "-o", tokens).exit_code == 0
    with np.load(tokens) as arrays:
        parts = dict(arrays)
    other = json.loads(str(parts["meta"])) | {"variant": "vidtok_fsq_causal_488_4096"}
    for name, change, message in (
        ("other", {"meta": np.array(json.dumps(other))}, "vidtok_fsq_causal_488_4096"),
        ("range", {"tokens": parts["tokens"] + 32768}, "allowed: 0 to 32767"),
        ("shape", {"tokens": parts["tokens"][:, :4]}, "4x12"),
    ):
        bad = tmp_path / f"{name}.npz"
        np.savez(bad, **(parts | change))
        result = run("decode", bad, "-b", bundle, "-o", tmp_path / f"{name}.mp4")
        assert (result.exit_code, message in result.output) == (3, True), result.output
        assert not (tmp_path / f"{name}.mp4").exists()


def test_bundles_that_cannot_be_trusted_are_refused(
    clip: Path, bundle: Path, tmp_path: Path
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    escaping = [{**manifest["graphs"][0], "file": "../x.onnx"}, manifest["graphs"][1]]
    cases = {
        "absent": (None, "is not a folder"),
        "schema": ({**manifest, "schema": 99}, "schema 99"),
        "escape": ({**manifest, "graphs": escaping}, "inside the bundle"),
        "missing": (manifest, "is missing"),
    }
    for name, (content, message) in cases.items():
        copy = tmp_path / name
        if content is not None:
            shutil.copytree(bundle, copy)
            (copy / "manifest.json").write_text(json.dumps(content))
        if name == "missing":
            (copy / "encoder.fp32.onnx.data").unlink()
        result = run("encode", clip, "-b", copy, "-o", tmp_path / "t.npz")
        assert (result.exit_code, message in result.output) == (3, True), result.output


def test_an_output_that_is_there_is_refused(bundle: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens.npz"
    out.write_bytes(b"precious")
    result = run("encode", clip, "-b", bundle, "-o", out)
    assert result.exit_code == 2 and "--force" in result.output
    assert out.read_bytes() == b"precious"


def test_cut_file_of_tokens_is_refused(bundle: Path, clip: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.npz"
    assert run("encode", clip, "-b", bundle, "-o", tokens).exit_code == 0
    result = run("decode", cut(tokens, 0.5), "-b", bundle, "-o", tmp_path / "out.mp4")
    assert result.exit_code == 3, result.output


# --- a machine with less ----------------------------------------------------------------------


def program(code: str) -> subprocess.CompletedProcess[str]:
    hide = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN_MODULES}));"
    return subprocess.run(
        [sys.executable, "-c", hide + code], capture_output=True, text=True, cwd="/", check=False
    )


@pytest.mark.parametrize("command", ["", *main.commands])
def test_help_works_with_no_extra_installed(command: str) -> None:
    arguments = [*command.split(), "--help"]
    result = program(f"from vidtok_edge.cli import main; main({arguments})")
    assert result.returncode == 0, result.stderr
    assert "Usage:" in result.stdout


def test_variants_work_with_no_extra_installed() -> None:
    result = program("from vidtok_edge.cli import main; main(['variants'])")
    assert result.returncode == 0 and "vidtok_kl_causal_288_8chn" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["export", "--variant", "fsq"], 'pip install "vidtok-edge[export]"'),
        (["encode", "a.mp4", "-b", "b", "-o", "c.npz"], 'pip install "vidtok-edge[video]"'),
        (["doctor"], 'pip install "vidtok-edge[ort]"'),
    ],
)
def test_what_is_missing_comes_with_the_line_that_installs_it(
    arguments: list[str], line: str
) -> None:
    result = program(f"from vidtok_edge.cli import main; main({arguments})")
    assert result.returncode == 4, result.stderr
    assert line in result.stderr + result.stdout


def test_ctrl_c_while_commands_are_imported_ends_in_silence(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    result = subprocess.run(
        [sys.executable, "-m", "vidtok_edge.cli", "--version"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


@pytest.mark.parametrize("name", sorted(main.commands))
def test_each_command_has_a_file_of_its_name(name: str) -> None:
    callback = main.commands[name].callback
    assert callback is not None
    module = importlib.import_module(f"vidtok_edge.commands.{name.replace('-', '_')}")
    assert getattr(module, name.replace("-", "_")) is main.commands[name]
