"""`record`, killed with -9: `recover` and `replay` give back all but the last interval."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from vidtok_edge.cli import main
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.streaming.records import LatentRecord

INTERVAL_S = 0.2
LATENT_S = 4 / 50  # of the slower camera: what its last frames waited for
SLACK_S = 0.5  # for encoding, on a machine that has other things to do


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def latents_of(path: Path, source: int) -> list[LatentRecord]:
    with Recording.open(path) as recording:
        entries = list(recording.entries(source))
    return [entry for entry in entries if isinstance(entry, LatentRecord)]


def killed(path: Path, process: subprocess.Popen[bytes], after_s: float) -> int:
    """Kill it so long after it recorded something; the time at which it was killed."""
    until = time.monotonic() + 30
    while not (path.exists() and path.stat().st_size > 8000) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(after_s)
    at_ns = time.monotonic_ns()
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    return at_ns


@pytest.mark.slow
def test_two_cameras_killed_at_some_moments(tiny: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.mcap" for n in range(3)]
    command = [
        sys.executable,
        "-m",
        "vidtok_edge.cli",
        "record",
        "synthetic:100",
        "synthetic:50",
        "--bundle",
        str(tiny),
        "--flush-interval",
        str(INTERVAL_S),
        "-o",
    ]
    quiet = subprocess.DEVNULL
    processes = [
        subprocess.Popen([*command, str(path)], stdout=quiet, stderr=quiet) for path in paths
    ]
    try:
        # The first is waited for long enough that one flush alone would not do.
        waits = [1.0, *np.random.default_rng().uniform(0, INTERVAL_S, 2)]
        times_ns = [killed(*each) for each in zip(paths, processes, waits, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for path, killed_ns in zip(paths, times_ns, strict=True):
        output = path.with_suffix(".whole.mcap")
        done = run("recover", path, "-o", output)
        assert done.exit_code == 1 and done.output.count("its end is missing") == 2, done.output
        for source in (0, 1):
            latents = latents_of(output, source)
            assert [latent.index for latent in latents] == list(range(len(latents)))
            lost_s = (killed_ns - latents[-1].capture_time_ns) / 1e9
            assert lost_s < INTERVAL_S + LATENT_S + SLACK_S
            played = run("replay", output, "-b", tiny, "--source", source, "-o", "-")
            frames = sum(latent.frames_real for latent in latents)
            assert played.exit_code == 0, played.stderr
            assert len(played.stdout_bytes) == frames * 16 * 16 * 3
