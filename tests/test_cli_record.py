"""`record` as a command: from standard input with nothing installed, Ctrl-C, exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from clips import make_clip

from vidtok_edge.cli import main
from vidtok_edge.commands.record import _status_line
from vidtok_edge.runtime.record_summary import RecordSummary, SourceSummary
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.recording.messages import Marker, RecordedLatent

FRAME = 16 * 16 * 3
NO_EXTRAS = ["torch", "onnx", "onnxscript", "av", "PIL", "safetensors"]
COMMAND = (
    f"import sys; sys.modules.update(dict.fromkeys({NO_EXTRAS!r}));"
    "from vidtok_edge.cli import main; main(sys.argv[1:])"
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["record", *map(str, arguments)])


def arguments(bundle: Path, output: Path, *more: object) -> list[str]:
    return ["--bundle", str(bundle), "-o", str(output), *map(str, more)]


def test_standard_input_without_a_video_library(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.mcap"
    frames = np.random.default_rng(0).integers(0, 256, (13, 16, 16, 3), np.uint8)
    command = [sys.executable, "-c", COMMAND, "record", "-", *arguments(tiny, path, "--fps", 30)]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with Recording.open(path) as recording:
        assert sum(isinstance(e, RecordedLatent) for e in recording.entries()) == 4
    [row] = [line.split() for line in done.stdout.decode().splitlines() if line.startswith("- ")]
    assert row[:5] == ["-", "13", "13", "0", "4"]


def test_ctrl_c_ends_cleanly_with_a_finished_file(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.mcap"
    more = arguments(tiny, path, "--flush-interval", 0.05)
    command = [sys.executable, "-c", COMMAND, "record", "synthetic:100", "synthetic:50", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 30
        while not (path.exists() and path.stat().st_size > 8000) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert b"latency of a latent" in output and b"stopped" in output
    with Recording.open(path) as recording:
        assert recording.indexed and not recording.damage
        for source in (0, 1):
            entries = list(recording.entries(source))
            assert isinstance(entries[-1], Marker) and entries[-1].detail == "stopped"
            assert sum(isinstance(entry, RecordedLatent) for entry in entries) > 1


def test_a_pipe_that_ends_in_a_frame_is_an_error_and_all_before_is_kept(
    tiny: Path, tmp_path: Path
) -> None:
    path, raw = tmp_path / "out.mcap", tmp_path / "raw"
    raw.write_bytes(bytes(FRAME * 5 + 7))
    command = [sys.executable, "-c", COMMAND, "record", "-", *arguments(tiny, path)]
    with raw.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=60, text=True)
    assert done.returncode == 3 and "error: standard input ended in the middle" in done.stderr
    with Recording.open(path) as recording:
        entries = list(recording.entries())
    assert sum(isinstance(entry, RecordedLatent) for entry in entries) == 2
    assert isinstance(entries[-1], Marker) and "in the middle of frame 5" in entries[-1].detail


def test_a_clip_with_all_options(tiny: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 30)
    done = run(
        clip, *arguments(tiny, tmp_path / "out.mcap"), "--queue", "block", "--capacity", 2,
        "--on-drop", "restart", "--realtime", "--deadline", 5, "--key-interval", 0.3,
        "--duration", 30, "--fps", 15, "--fit", "letterbox", "--backend", "cpu",
        "--precision", "fp32",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with Recording.open(tmp_path / "out.mcap") as recording:
        kinds = [entry.kind for entry in recording.entries() if isinstance(entry, Marker)]
    assert kinds == ["start", "key", "key", "end"]


def test_a_terminal_gets_a_line_that_is_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SourceSummary("cam", 9, 7, 2, 3, 1, 0, 1.0, "", None)
    done = RecordSummary((source, source), 12.3, 8.0, 9.0, 10.0, 100)
    with _status_line() as show:
        assert show is None, "it is no terminal"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with _status_line() as show:
        assert show is not None
        show(done)
    error = capsys.readouterr().err
    assert "12 s  6 latents  4 dropped  latency 8 ms, p95 9 ms" in error
    assert error.count("\r") == 2 and "\n" not in error


def test_a_dry_run_writes_nothing(tiny: Path, tmp_path: Path) -> None:
    done = run("synthetic:20", *arguments(tiny, tmp_path / "out.mcap"), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "synthetic  20        block" in done.output and "1 of 2 slots" in done.output
    assert not (tmp_path / "out.mcap").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["synthetic", "synthetic:1", "synthetic:2"], 2, "--streams 3"),
        (["nowhere.mp4"], 3, "nowhere.mp4 cannot be opened"),
        (["synthetic", "--raw", "9"], 2, "not a size"),
        (["synthetic", "--duration", "0"], 2, "duration"),
        (["synthetic", "--view", "clip.mp4:x"], 2, "Allowed: window, HOST or HOST:PORT"),
        (["synthetic", "--view-decoded"], 2, "--view"),
    ],
)
def test_exit_codes(tiny: Path, tmp_path: Path, more: list[str], code: int, message: str) -> None:
    done = run(*more, *arguments(tiny, tmp_path / "out.mcap"))
    assert (done.exit_code, message in done.output) == (code, True), done.output
    assert not (tmp_path / "out.mcap").exists()
