"""The command that trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import embedded
import pytest
import torch
from clips import make_clip
from embedded import BAD_INPUT, FAILED, INTERRUPTED, command
from moving_pictures import Window
from picture_files import UnreadableFile, read_picture
from trainer import Trainer

from vidtok_edge.vidtok_ref import EMBEDDED, embedded_file, load_weights

ROOT = Path(__file__).resolve().parents[2]
SMALL = (Window(frames=5, height=16, width=16, share=1.0),)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "film").mkdir(parents=True)
    make_clip(folder / "film" / "a.mp4", 9)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small windows, and small clips that are measured."""
    monkeypatch.setattr(embedded, "ON_CPU", SMALL)
    monkeypatch.setattr(embedded, "_FRAMES", 17)
    monkeypatch.setattr(embedded, "_SIZE", 32)


def trained(data: Path, output: Path, *more: str) -> int:
    options = ["--data", str(data), "--output", str(output), "--device", "cpu", "--batch", "1"]
    return command([*options, "--precision", "fp32", *more])


def test_it_trains_saves_and_reports(
    data: Path, tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert trained(data, output, "--seconds", "1") == 0
    assert "time is up" in capsys.readouterr().out
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [embedded.CHECKPOINT, embedded.REPORT, embedded.PICTURES, embedded.WEIGHTS_FILE]
    )
    report = json.loads((output / embedded.REPORT).read_text("utf-8"))
    assert report["step"] >= 1 and report["clips"] == report["step"]
    assert report["before"].keys() == report["after"].keys() == {"clip_robot", "clip_film"}
    _, origin = load_weights(EMBEDDED.name, str(output / embedded.WEIGHTS_FILE))
    assert origin.sha256 == report["weights_sha256"] != load_weights("fsq", None)[1].sha256
    assert read_picture(output / embedded.PICTURES).shape == (64, 128, 3)

    assert trained(data, output) == BAD_INPUT
    assert "--resume, or another --output" in capsys.readouterr().err
    assert trained(data, output, "--resume", "--seconds", "2") == 0
    again = json.loads((output / embedded.REPORT).read_text("utf-8"))
    assert again["step"] > report["step"] and again["seconds"] >= 2


def test_a_dry_run_writes_nothing(
    data: Path, tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert command(["--data", str(data), "--device", "cpu", "--dry-run"]) == 0
    assert "nothing was trained or written" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_training_says_how_it_goes_on(
    data: Path,
    tmp_path: Path,
    quick: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Trainer, "train", lambda self, pictures, **_: "interrupted")
    assert trained(data, tmp_path / "out") == INTERRUPTED
    assert "--resume goes on" in capsys.readouterr().out
    assert (tmp_path / "out" / embedded.CHECKPOINT).exists()


def test_a_disk_that_is_full_for_a_while(
    data: Path,
    tmp_path: Path,
    quick: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save, failing = Trainer.save, True

    def full(self: Trainer, path: Path) -> None:
        nonlocal failing
        if failing:
            failing = False
            raise OSError(28, "No space left on device")
        save(self, path)

    def train(self: Trainer, pictures: object, **options: object) -> str:
        assert callable(options["save"])
        options["save"]()
        return "time is up"

    monkeypatch.setattr(Trainer, "save", full)
    monkeypatch.setattr(Trainer, "train", train)
    assert trained(data, tmp_path / "out") == 0
    assert "not saved at step 0" in capsys.readouterr().out
    failing = True
    monkeypatch.setattr(Trainer, "train", lambda self, pictures, **_: "time is up")
    assert trained(data, tmp_path / "other") == FAILED
    assert "No space left" in capsys.readouterr().err
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--data and --output are needed"),
        (["--data", "gone", "--output", "out"], "gone is no folder"),
        (["--data", "data", "--output", "out", "--held-out", "data"], "holds no clips"),
        (["--data", "data", "--output", "out", "--resume"], "nothing to resume"),
        (["--data", "data", "--output", "out", "--device", "nonsense"], "--device nonsense"),
        (["--data", "data", "--output", "out", "--weights", "data/film/a.mp4"], "a.mp4"),
    ],
)
def test_bad_input(
    options: list[str],
    said: str,
    data: Path,
    quick: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(data.parent)
    assert command(options) == BAD_INPUT
    assert said in capsys.readouterr().err
    assert not list(data.parent.rglob("*.safetensors"))


def test_weights_of_another_variant(data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(embedded_file(f"{EMBEDDED.name}.safetensors"))
    key = next(iter(state))
    save_file({**state, key: torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    options = ["--data", str(data), "--output", str(tmp_path / "out")]
    assert command([*options, "--weights", str(tmp_path / "other.safetensors")]) == BAD_INPUT


def test_a_held_out_clip_that_is_too_short(data: Path, tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    make_clip(tmp_path / "held" / "a.mp4", 9)
    with pytest.raises(UnreadableFile, match="has 9 frames; 33 are needed"):
        embedded.measured_clips(tmp_path / "held")


@pytest.mark.slow
def test_the_smoke_run_lowers_the_loss() -> None:
    command = [sys.executable, "training/embedded.py", "--smoke"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    last = ran.stdout.splitlines()[-1].split()
    before, after = float(last[-3]), float(last[-1])
    assert after < 0.97 * before
