"""`record` as a command: from standard input with nothing installed, Ctrl-C, exit codes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from clips import make_clip
from tiny_golden import write_tiny_golden

from vidtok_edge.cli import main
from vidtok_edge.commands.record_printing import status_of
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.session.summary import RecordSummary, SourceSummary
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker

FRAME = 16 * 16 * 3
NO_EXTRAS = ["torch", "onnx", "onnx_ir", "onnxscript", "av", "PIL", "safetensors"]
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
        assert sum(isinstance(e, LatentRecord) for e in recording.entries()) == 4
    [row] = [line.split() for line in done.stdout.decode().splitlines() if line.startswith("- ")]
    assert row[:5] == ["-", "13", "13", "0", "4"]


def test_standard_input_that_is_empty(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.mcap"
    command = [sys.executable, "-c", COMMAND, "record", "-", *arguments(tiny, path)]
    done = subprocess.run(command, input="", capture_output=True, timeout=60, text=True)
    assert done.returncode == 3 and not done.stdout
    assert "error: - gave no frame in 0." in done.stderr and "nothing was recorded" in done.stderr
    assert not path.exists()


def test_the_proof_that_it_runs_under_is_named_or_missed(tiny: Path, tmp_path: Path) -> None:
    more = arguments(tiny, tmp_path / "out.mcap", "--duration", 0.2, "--backend", "cpu", "--force")
    command = [sys.executable, "-c", COMMAND, "record", "synthetic:50", *more]

    def told() -> str:
        done = subprocess.run(command, capture_output=True, timeout=60, text=True, check=True)
        return done.stderr

    line = f"no proof: run: vidtok-edge prove {tiny} --backend cpu --precision fp32"
    assert f"warning: {line}" in told()
    write_tiny_golden(tiny)
    assert CliRunner().invoke(main, ["prove", str(tiny), "--backend", "cpu"]).exit_code == 0
    assert "proof cpu.fp32." in (now := told()) and "no proof" not in now


def test_one_of_several_sources_that_gives_no_frame(tiny: Path, tmp_path: Path) -> None:
    path, sources = tmp_path / "out.mcap", ["-", "synthetic:50"]
    more = arguments(tiny, path, "--duration", 0.3)
    command = [sys.executable, "-c", COMMAND, "record", *sources, *more]
    done = subprocess.run(command, input="", capture_output=True, timeout=60, text=True)
    assert done.returncode == 0 and "warning: source - gave no frame" in done.stderr, done.stderr
    assert done.stderr.count("gave no frame") == 1
    with Recording.open(path) as recording:
        assert [type(entry) for entry in recording.entries(0)] == [Marker]
        assert sum(isinstance(entry, LatentRecord) for entry in recording.entries(1)) > 2


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
            assert sum(isinstance(entry, LatentRecord) for entry in entries) > 1


def test_a_pipe_that_ends_in_a_frame_is_an_error_and_all_before_is_kept(
    tiny: Path, tmp_path: Path
) -> None:
    path, raw = tmp_path / "out.mcap", tmp_path / "raw"
    raw.write_bytes(bytes(FRAME * 5 + 7))
    command = [sys.executable, "-c", COMMAND, "record", "-", *arguments(tiny, path)]
    with raw.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=60, text=True)
    assert done.returncode == 3 and "error: standard input ended in the middle" in done.stderr
    assert "\n- failed: standard input ended" in done.stderr, "each source that fails is told"
    with Recording.open(path) as recording:
        entries = list(recording.entries())
    assert sum(isinstance(entry, LatentRecord) for entry in entries) == 2
    assert isinstance(entries[-1], Marker) and "in the middle of frame 5" in entries[-1].detail


def test_a_clip_with_all_options(tiny: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 30)
    done = run(
        clip,
        *arguments(tiny, tmp_path / "out.mcap"),
        "--queue",
        "block",
        "--capacity",
        2,
        "--on-drop",
        "restart",
        "--realtime",
        "--batch-wait",
        5,
        "--key-interval",
        0.3,
        "--duration",
        30,
        "--fps",
        15,
        "--fit",
        "letterbox",
        "--backend",
        "cpu",
        "--precision",
        "fp32",
    )
    assert done.exit_code == 0, done.output
    with Recording.open(tmp_path / "out.mcap") as recording:
        kinds = [entry.kind for entry in recording.entries() if isinstance(entry, Marker)]
    assert kinds == ["start", "key", "key", "end"]


def test_tokens_are_coded_where_that_is_asked_for(tiny: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (13, 16, 16, 3), np.uint8).tobytes()
    found = []
    for code in ("packed", "entropy"):
        path = tmp_path / f"{code}.mcap"
        more = arguments(tiny, path, "--fps", 30, "--code", code)
        command = [sys.executable, "-c", COMMAND, "record", "-", *more]
        subprocess.run(command, input=frames, capture_output=True, timeout=60, check=True)
        with Recording.open(path) as recording:
            assert recording.source(0).code == code
            entries = list(recording.entries())
        found.append([e.values.tolist() for e in entries if isinstance(e, LatentRecord)])
    assert found[0] == found[1] and len(found[0]) == 4


def test_the_status_names_cameras_that_are_away() -> None:
    here = SourceSummary(
        name="cam",
        frames_captured=9,
        frames_encoded=7,
        frames_dropped=2,
        latents=3,
        streams=1,
        seconds=1.0,
    )
    done = RecordSummary(
        sources=(here, replace(here, name="rear", away=True)),
        seconds=12.3,
        latency_p50_ms=8.0,
        latency_p95_ms=9.0,
        latency_max_ms=10.0,
        bytes_written=100,
    )
    assert status_of(done) == (
        "    12 s  6 latents  4 dropped  latency 8 ms, p95 9 ms  rear is away"
    )


@dataclass
class OnTerminal:
    """`record` on a terminal of its own."""

    process: subprocess.Popen[bytes]
    master: int
    path: Path

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def grows_beyond(self, size: int) -> bool:
        until = time.monotonic() + 30
        while self.size() <= size and time.monotonic() < until:
            time.sleep(0.02)
        return self.size() > size


def _own_the_terminal() -> None:
    """In the child. Under nohup, SIGHUP would be ignored by it, too."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def on_terminal(tiny: Path, tmp_path: Path, *, output: bool) -> Iterator[OnTerminal]:
    """Its standard error, and with `output` also its standard output, are the terminal."""
    master, slave = os.openpty()
    path = tmp_path / "out.mcap"
    command = [sys.executable, "-c", COMMAND, "record", "synthetic:100", "--flush-interval", "0.05"]
    with subprocess.Popen(
        [*command, *arguments(tiny, path)],
        stdin=slave,
        stderr=slave,
        stdout=slave if output else subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_own_the_terminal,
    ) as process:
        os.close(slave)
        running = OnTerminal(process, master, path)
        try:
            assert running.grows_beyond(8000)
            yield running
        finally:
            process.kill()
            with suppress(OSError):
                os.close(master)


def finished(path: Path) -> str:
    """How a whole file says that it ended."""
    with Recording.open(path) as recording:
        assert recording.indexed and not recording.damage
        *_, last = recording.entries()
    assert isinstance(last, Marker)
    return last.detail


def test_a_terminal_that_is_closed_ends_a_recording_well(tiny: Path, tmp_path: Path) -> None:
    with on_terminal(tiny, tmp_path, output=True) as running:
        os.close(running.master)
        assert running.process.wait(20) == 0
        assert finished(running.path) == "stopped"


@pytest.mark.slow
def test_a_terminal_that_is_stopped_stops_no_recording(tiny: Path, tmp_path: Path) -> None:
    with on_terminal(tiny, tmp_path, output=False) as running:
        os.write(running.master, b"\x13")  # Ctrl-S
        time.sleep(0.6)  # two statuses
        assert running.grows_beyond(running.size() + 8000)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(20) == 0
        assert finished(running.path) == "stopped"


def test_a_dry_run_writes_nothing(tiny: Path, tmp_path: Path) -> None:
    done = run("synthetic:20", *arguments(tiny, tmp_path / "out.mcap"), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "synthetic  20        block" in done.output and "1 of 2 slots" in done.output
    assert not (tmp_path / "out.mcap").exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--check"]])
def test_a_folder_that_is_not_there_is_told_at_once(
    tiny: Path, tmp_path: Path, more: list[str]
) -> None:
    done = run("synthetic:20", *arguments(tiny, tmp_path / "new" / "out.mcap"), *more)
    assert done.exit_code == 4, done.output
    assert f"there is no folder {tmp_path / 'new'}. Create it" in done.output


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["synthetic", "synthetic:1", "synthetic:2"], 2, "--streams 3"),
        (["nowhere.mp4"], 3, "nowhere.mp4 cannot be opened"),
        (["synthetic", "--raw", "9"], 2, "not a size"),
        (["synthetic", "--duration", "0"], 2, "duration"),
        (["synthetic", "--view", "clip.mp4:x"], 2, "Allowed: window, HOST or HOST:PORT"),
        (["synthetic", "--view-decoded"], 2, "--view"),
        (["synthetic", "--dry-run", "--check"], 2, "give one of them"),
        (["synthetic", "synthetic"], 2, "named twice: synthetic, synthetic. Name each once"),
    ],
)
def test_exit_codes(tiny: Path, tmp_path: Path, more: list[str], code: int, message: str) -> None:
    done = run(*more, *arguments(tiny, tmp_path / "out.mcap"))
    assert (done.exit_code, message in done.output) == (code, True), done.output
    assert not (tmp_path / "out.mcap").exists()
