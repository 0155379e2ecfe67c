"""Signals that end a command: it cleans up, is quiet, and its exit code says which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker

# As in a terminal, whatever the tests run under.
USUAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.{hangup})
"""
WORK = """
import time
import click
from vidtok_edge.commands.net import Command
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.folders import write_folder_beside

@click.command(cls=Command)
def work():
    try:
        with write_beside("file"), write_folder_beside("folder") as folder:
            (folder / "half").write_text("half")
            print("working", flush=True)
            time.sleep(60)
    finally:
        print("cleaned up", flush=True)
        input()
work()
"""
COMMAND = "from vidtok_edge.cli import main\nmain()"
PATIENCE_S = 30


@contextmanager
def program(
    code: str, *arguments: object, cwd: Path, hangup: str = "SIG_DFL"
) -> Iterator[subprocess.Popen[str]]:
    """A program in a session of its own, as a service is."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", USUAL.format(hangup=hangup) + code, *map(str, arguments)],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_leaves_nothing_half_written(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with program(WORK, cwd=tmp_path) as process:
        assert line_of(process) == "working" and len(os.listdir(tmp_path)) == 2
        process.send_signal(number)
        assert line_of(process) == "cleaned up" and os.listdir(tmp_path) == []
        _, said = process.communicate("\n", timeout=PATIENCE_S)
    assert (process.returncode, said) == (code, f"ended by {number.name}\n")


def test_a_second_sigterm_does_not_cut_the_cleaning_up_off(tmp_path: Path) -> None:
    """`timeout` sends two."""
    with program(WORK, cwd=tmp_path) as process:
        assert line_of(process) == "working"
        process.send_signal(signal.SIGTERM)
        assert line_of(process) == "cleaned up"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)  # it waits for a line, and must go on doing so
        _, said = process.communicate("\n", timeout=PATIENCE_S)
    assert (process.returncode, said) == (143, "ended by SIGTERM\n")


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    with program(WORK, cwd=tmp_path, hangup="SIG_IGN") as process:
        assert line_of(process) == "working"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert line_of(process) == "cleaned up"
        process.communicate("\n", timeout=PATIENCE_S)
    assert process.returncode == 143


def worker_of(process: subprocess.Popen[str]) -> psutil.Process:
    until = time.monotonic() + PATIENCE_S
    while not (children := psutil.Process(process.pid).children()):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.01)
    return children[0]


@pytest.mark.parametrize("whole_group", [False, True])
def test_bench_is_quiet_and_leaves_no_process(
    tiny: Path, tmp_path: Path, whole_group: bool
) -> None:
    """A service manager sends the signal to all of its processes, others to one."""
    arguments = ["bench", tiny, "--backend", "cpu", "--seconds", 60, "--json", "a.json"]
    with program(COMMAND, *arguments, cwd=tmp_path) as process:
        worker = worker_of(process)
        if whole_group:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.send_signal(signal.SIGTERM)
        printed, said = process.communicate(timeout=PATIENCE_S)
        assert not worker.is_running(), "neither at work nor defunct"
    assert process.returncode == 143
    assert said.splitlines()[-1] == "ended by SIGTERM" and "Traceback" not in printed + said
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}


def test_a_worker_without_a_parent_is_quiet(tiny: Path, tmp_path: Path) -> None:
    with program(COMMAND, "bench", tiny, "--backend", "cpu", cwd=tmp_path) as process:
        worker = worker_of(process)
        process.kill()
        _, said = process.communicate(timeout=PATIENCE_S)  # until the worker ends, too
        worker.wait(PATIENCE_S)
    assert "Traceback" not in said and "Exception" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_recording_ends_in_its_ordinary_way(
    tiny: Path, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "a.mcap"
    arguments = ["record", "synthetic:50", "-b", tiny, "-o", path, "--flush-interval", 0.05]
    with program(COMMAND, *arguments, cwd=tmp_path) as process:
        until = time.monotonic() + PATIENCE_S
        sizes: set[int] = set()
        while len(sizes - {0}) < 3:  # the head, and latents after it
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.01)
            sizes.add(path.stat().st_size if path.exists() else 0)
        process.send_signal(number)
        printed, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert "stopped" in printed and "ended by" not in said
    with Recording.open(path) as recording:
        *latents, last = recording.entries(0)
    assert isinstance(last, Marker) and last.kind == "end"
    assert any(isinstance(entry, LatentRecord) for entry in latents)
