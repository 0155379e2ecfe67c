"""Cameras and a robot's data, from capture to rows to train on, through a kill -9; by commands."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner
from mcap.writer import Writer

from vidtok_edge.cli import main
from vidtok_edge.runtime.recording import Recording

TICK_NS = 10_000_000  # 100 Hz; the action counts ticks, which float32 holds
CLIP = Path(__file__).parents[2] / "vidtok_ref" / "embedded" / "clip_robot.mp4"


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exit_code == code, done.output
    return done.output


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


def send_actions(path: Path, ticks: int) -> None:
    """In real time, each with its own; the first one counts 0."""
    first = time.monotonic_ns() // TICK_NS + 1
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(str(path))
        for tick in range(first, first + ticks):
            time.sleep(max(0, tick * TICK_NS - time.monotonic_ns()) / 1e9)
            line = {"channel": "action", "values": [tick - first], "time_ns": tick * TICK_NS}
            sender.sendall(json.dumps(line).encode() + b"\n")


def write_bag(path: Path, drive: Path, first: int) -> None:
    """A gripper that says the same ticks, on the wall clock of the recording."""
    with Recording.open(drive) as recording:
        sample = next(recording.samples("action"))
        ahead_ns = sample.log_time_ns - sample.time_ns
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/gripper", "json", 0)
        for tick in range(first - 100, first + 1000):
            at_ns = tick * TICK_NS + ahead_ns
            data = json.dumps({"width": tick - first}).encode()
            writer.add_message(channel, at_ns, data, at_ns)
        writer.finish()  # type: ignore[no-untyped-call]


@pytest.mark.xdist_group("kill")
def test_from_a_killed_recording_to_rows_that_are_aligned(tiny: Path, tmp_path: Path) -> None:
    drive, robot = tmp_path / "drive.mcap", tmp_path / "robot.sock"
    command = [sys.executable, "-m", "vidtok_edge.cli", "record", CLIP, "--realtime", "-b", tiny]
    command += ["-o", drive, "--data", f"unix:{robot}", "--flush-interval", 0.2, "--backend", "cpu"]
    process = subprocess.Popen([str(one) for one in command], stderr=subprocess.DEVNULL)
    try:
        wait_for(robot)
        wait_for(drive)
        send_actions(robot, 150)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert "known to be lost" in run("recover", drive, "-o", tmp_path / "whole.mcap", code=1)
    with Recording.open(tmp_path / "whole.mcap") as recording:
        ticks = [sample.time_ns // TICK_NS for sample in recording.samples("action")]
    first = ticks[0]
    write_bag(tmp_path / "robot.mcap", tmp_path / "whole.mcap", first)
    joined = tmp_path / "joined.mcap"
    said = run(
        *("join", tmp_path / "whole.mcap", tmp_path / "robot.mcap", "-o", joined),
        *("--take", "/gripper:width=state"),
    )
    assert "+0.000 s were added to the bag's times" in said
    run(
        "export-recording", joined, "--format", "lerobot", "-o", tmp_path / "set", "--max-age", 0.05
    )
    rows = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet").to_pylist()
    # A frame may be in the file whose action was not yet.
    whole = [row for row in rows if row["observation.capture_time_ns"] // TICK_NS <= ticks[-1]]
    assert len(whole) >= 5
    for row in whole:
        tick = row["observation.capture_time_ns"] // TICK_NS - first
        age_ns = row["observation.capture_time_ns"] % TICK_NS
        assert (row["action"], row["age_ns.action"]) == (tick, age_ns)
        assert row["observation.state"] == tick, "the second file's clock is the first one's"
