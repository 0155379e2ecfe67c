"""The examples run, each in a process of its own, as a reader would start it."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clips import picture
from recordings import record as write_recording

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
EMBEDDED = ROOT / "vidtok_ref" / "embedded" / "vidtok_fsq_causal_488_32768_tiny.safetensors"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not installed")


def run(name: str, *arguments: object, given: bytes = b"") -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_all_are_tried_and_listed() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    tried = Path(__file__).read_text("utf-8")
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert len(scripts) == 7
    assert all(f'run("{name}"' in tried for name in scripts)
    assert all(f"| `{name} " in listed for name in scripts)


def test_a_policy_loop(tiny: Path) -> None:
    said = run("policy_loop.py", tiny, 9)
    assert "latent 0: action [" in said and "latent 2: action [" in said


def test_several_cameras(tiny: Path) -> None:
    said = run("several_cameras.py", tiny, 0.5)
    assert "camera 0: 30 frames per second" in said and "camera 1: 15 frames per second" in said
    assert " 0 latents" not in said


def test_raw_frames_of_a_pipe(tiny: Path, tmp_path: Path) -> None:
    frames = b"".join(picture(number, (16, 16)).tobytes() for number in range(9))
    said = run("pipe.py", tiny, tmp_path / "tokens.npz", given=frames)
    assert said.startswith("9 frames, tokens [3, 2, 2]")


@pytest.mark.slow
def test_recording_and_replaying(tiny: Path, tmp_path: Path) -> None:
    said = run("record_and_replay.py", tiny, tmp_path / "a.mcap", "synthetic:20")
    assert "from 0.5 s to 1.5 s: frames [" in said and "16, 16, 3] at 20 per second" in said


@pytest.mark.slow
def test_a_dataset_of_tokens(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    write_recording(tmp_path / "a.mcap")
    said = run("token_dataset.py", tmp_path / "a.mcap", 3)
    assert "windows of 3 latents" in said and "batch [2, 3, 2, 3] torch.int64" in said


def test_a_world_model_learns_from_a_recording(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("av")
    said = run("world_model.py", tiny, tmp_path / "a.mcap", 30)
    numbers = re.search(r"loss ([\d.]+) at first, ([\d.]+) at last, ([\d.]+) without", said)
    assert numbers is not None, said
    first, last, without_past = map(float, numbers.groups())
    assert first == pytest.approx(math.log(8**5), abs=0.01), "it begins by not knowing anything"
    assert last < without_past - 1 < first


@pytest.mark.slow
def test_weights_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    variant = EMBEDDED.stem
    said = run("own_checkpoint.py", EMBEDDED, tmp_path / "bundle", variant, 32, 32)
    assert said.rstrip().endswith(f"{variant}, verified")
