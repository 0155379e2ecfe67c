"""Events and pauses by the command: signals, the socket, a kill -9 in an event."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vidtok_edge.cli import main
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.session.parts_index import index_of, parts_in
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker

FLUSH_S = 0.3
PATIENCE_S = 60.0


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exit_code == code, done.output
    return done.output


@contextmanager
def recording(tiny: Path, output: Path, *more: object) -> Iterator[subprocess.Popen[bytes]]:
    """Two cameras that are recorded by a process, which is killed where it still runs."""
    control = output.with_name("ctl")
    command = [sys.executable, "-m", "vidtok_edge.cli", "record", "synthetic:100", "synthetic:50"]
    command += ["-b", tiny, "-o", output, "--backend", "cpu", "--flush-interval", FLUSH_S]  # type: ignore[list-item]
    command += ["--control", f"unix:{control}", *more]  # type: ignore[list-item]
    process = subprocess.Popen([str(one) for one in command], stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + PATIENCE_S
        while not control.exists():
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.02)
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def ask(output: Path, line: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as caller, caller.makefile("rb") as answers:
        caller.settimeout(PATIENCE_S)
        caller.connect(str(output.with_name("ctl")))
        caller.sendall(line.encode() + b"\n")
        found: dict[str, Any] = json.loads(answers.readline())
        return found


def wait_until(output: Path, what: Any) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE_S
    while not what(found := ask(output, "status")):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def ended(process: subprocess.Popen[bytes]) -> str:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return said.decode()


@pytest.mark.xdist_group("kill")
def test_what_an_event_holds_survives_a_kill(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    with recording(tiny, output, "--trigger", "--before", 1, "--after", 60) as process:
        before = wait_until(output, lambda found: found["ring_s"] >= 1.5)
        assert before["state"] == "waiting" and not index_of(output).exists()
        assert 0 < before["ring_bytes"] <= before["ring_most_bytes"]
        at_ns = time.monotonic_ns()
        assert ask(output, "trigger bumper")["ok"]
        later = wait_until(output, lambda found: found["latents"] > before["latents"] + 100)
        assert later["state"] == "recording" and later["events"] == 1
        time.sleep(2 * FLUSH_S)  # what came before is promised then
        killed_ns = time.monotonic_ns()
        process.kill()
    [path] = parts_in(index_of(output))
    found = recover(path, tmp_path / "whole.mcap")
    assert not any(source.lost_latents for source in found.sources)
    with Recording.open(tmp_path / "whole.mcap") as whole:
        for source in (0, 1):
            entries = list(whole.entries(source))
            assert isinstance(entries[0], Marker) and entries[0].starts_stream
            assert entries[0].time_ns <= at_ns - 0.9e9, "a second of before, less a frame"
            ours = [entry for entry in entries if isinstance(entry, LatentRecord)]
            assert ours[-1].capture_time_ns >= killed_ns - 2 * FLUSH_S * 1e9 - 1e9
            assert all(b.index in (a.index + 1, 0) for a, b in pairwise(ours))
        [why] = whole.samples("triggers")
        told = json.loads(why.text)
        assert told["why"] == "bumper" and 0.9 <= told["looks_back_s"] < 30


@pytest.mark.xdist_group("kill")
def test_signals_keep_events_and_pause(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    options = ["--trigger", "--before", 0.5, "--after", 0.2, "--keep-bytes", "10MB"]
    with recording(tiny, output, *options) as process:
        wait_until(output, lambda found: found["ring_s"] >= 1)
        process.send_signal(signal.SIGUSR1)
        wait_until(output, lambda found: found["events"] == 1 and found["state"] == "waiting")
        process.send_signal(signal.SIGUSR2)
        wait_until(output, lambda found: found["state"] == "paused")
        assert "is paused" in ask(output, "trigger")["error"]
        process.send_signal(signal.SIGUSR2)
        wait_until(output, lambda found: found["state"] == "waiting" and found["ring_s"] > 0.2)
        process.send_signal(signal.SIGUSR1)
        wait_until(output, lambda found: found["events"] == 2 and found["state"] == "waiting")
        said = ended(process)
    assert said.count("an event: SIGUSR1") == 2 and "paused\nrecording again" in said
    assert len(parts_in(index_of(output))) == 2
    for path in parts_in(index_of(output)):
        assert recover(path, tmp_path / "again.mcap", force=True)
    assert not output.with_name("ctl").exists()


@pytest.mark.xdist_group("kill")
def test_a_pause_is_a_gap_in_all_that_is_made_of_it(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "drive.mcap"
    with recording(tiny, output) as process:
        wait_until(output, lambda found: found["latents"] > 20)
        assert ask(output, "pause")["state"] == "paused"
        paused_ns = time.monotonic_ns()
        time.sleep(0.7)
        before = ask(output, "status")["latents"]
        resumed_ns = time.monotonic_ns()
        assert ask(output, "resume")["state"] == "recording"
        wait_until(output, lambda found: found["latents"] > before + 20)
        ended(process)
    with Recording.open(output) as recording_:
        entries = list(recording_.entries(0))
    ours = [entry for entry in entries if isinstance(entry, LatentRecord)]
    assert not any(paused_ns < one.capture_time_ns < resumed_ns for one in ours)
    begin, over = (e for e in entries if isinstance(e, Marker) and e.paused)
    assert begin.frames == 0 and over.frames >= 50
    assert [e.kind for e in entries if isinstance(e, Marker)] == [
        *("start", "drop", "drop", "restart", "end"),
    ]
    assert recover(output, tmp_path / "whole.mcap")
    said = run("export-recording", output, "--format", "npz", "-o", tmp_path / "set")
    assert "it was paused, and" in said and "dropped" not in said
    told = json.loads((tmp_path / "set" / "recording.json").read_text())
    assert told["sources"]["0"]["frames_paused"] == over.frames
    assert [e["episode"] for e in told["episodes"] if e["source"] == 0] == [0, 1]
    # Frames keep their times: the clip has those that were encoded, and none for the pause.
    frames = sum(one.frames_real for one in ours)
    said = run("replay", output, "--bundle", tiny, "-o", tmp_path / "drive.mp4")
    assert f"{frames} frames at 100 fps" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--before", 5], "are of events. Add --trigger"),
        (["--trigger-when", "a>1"], "are of events. Add --trigger"),
        (["--trigger", "--trigger-when", "a>1"], "no --data gives any"),
        (["--trigger", "--trigger-when", "a>", "--data", "-"], "is no comparison"),
        (["--trigger", "--split-minutes", 0.1], "A part lasts 6 s, and an event begins with"),
        (["--trigger", "--split-size", "2MB"], "an event begins with up to 64000000"),
        (["--on-late", "step-down"], "takes the steps of --ladder"),
        (["--ladder", "half-rate"], "are of --on-late step-down. Add that"),
        (["--on-late", "step-down", "--ladder", "int4"], "is called 'int4'; allowed"),
        (["--on-late", "step-down", "--ladder", "int8"], "has int8, and the bundle has fp32"),
        (["--on-late", "step-down", "--ladder", "fp32"], "is what is encoded with anyway"),
        (["--control", "/tmp/x"], "is no control socket. Write unix:PATH"),
        (["--control", "unix:/tmp/x", "--data", "unix:/tmp/x"], "for data and for control"),
    ],
)
def test_what_makes_no_sense_together(
    tiny: Path, tmp_path: Path, options: list[object], said: str
) -> None:
    output = tmp_path / "drive.mcap"
    found = run("record", "synthetic:30", "-b", tiny, "-o", output, *options, code=2)
    assert said in " ".join(found.split()).replace("│ ", "")
    assert os.listdir(tmp_path) in ([], ["bundle"])


def test_what_would_be_kept_is_said_before(tiny: Path, tmp_path: Path) -> None:
    options = ["--trigger", "--before", 20, "--ring-size", "5MB", "--dry-run"]
    said = run("record", "synthetic:30", "-b", tiny, "-o", tmp_path / "drive.mcap", *options)
    options += ["--on-late", "step-down", "--ladder", "half-rate,third-rate"]
    said = run("record", "synthetic:30", "-b", tiny, "-o", tmp_path / "drive.mcap", *options)
    assert "behind for 2 s: half-rate; then third-rate; back after 30 s without" in said
    assert "from a key 20 to 30 s before a trigger to 10 s after; at most 5.0 MB of" in said
