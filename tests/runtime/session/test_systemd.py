"""The unit that `record --systemd` prints, and what a session tells systemd."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from vidtok_edge.cli import main
from vidtok_edge.runtime.session.systemd import WATCHDOG_S, Notifier, unit_of


def unit(tiny: Path, tmp_path: Path, *more: str) -> str:
    """What is printed, without warnings: as a shell's `> FILE` gets it."""
    words = ["record", "synthetic:30", "-b", str(tiny), "-o", str(tmp_path / "a b.mcap"), *more]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*words, "--systemd"], standalone_mode=False)
    return printed.getvalue()


def test_it_runs_what_was_asked_for(tiny: Path, tmp_path: Path) -> None:
    text = unit(tiny, tmp_path, "--split-minutes", "10", "--keep-bytes", "20GB")
    [command] = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command.endswith(f'-o "{tmp_path}/a b.mcap" --split-minutes 10 --keep-bytes 20GB')
    assert "--systemd" not in command and "-m vidtok_edge.cli record synthetic:30" in command
    assert f"WatchdogSec={WATCHDOG_S}" in text and "Restart=on-failure" in text
    assert not list(tmp_path.glob("a*")), "nothing was recorded"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_it(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "vidtok-edge-record.service"
    path.write_text(unit(tiny, tmp_path, "--split-size", "500MB", "--fit", "letterbox"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, path.name in done.stderr) == (0, False), done.stderr


def test_words_mean_to_systemd_what_they_say() -> None:
    text = unit_of(["50% $HOME", 'a"b', "c\\d", "plain"], user="me", folder="/x%y")
    assert r'"50%% $$HOME" "a\"b" "c\\d" plain' in text
    assert "WorkingDirectory=/x%%y" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["synthetic:30"], "Add --split-minutes or --split-size"),
        (["-", "--split-minutes", "1"], "A service has no standard input"),
    ],
)
def test_what_makes_no_service(tiny: Path, tmp_path: Path, words: list[str], said: str) -> None:
    options = ["-b", str(tiny), "-o", str(tmp_path / "a.mcap"), "--systemd"]
    done = CliRunner().invoke(main, ["record", *words, *options])
    assert done.exit_code == 2 and said in done.output


def test_a_session_says_that_it_is_ready_alive_and_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notifier, second = Notifier(), 1_000_000_000
        for at in range(0, 40):
            notifier.alive(at * second)
        notifier.stopping()
        said = [systemd.recv(100).decode() for _ in range(5)]
    assert said == ["READY=1", *["WATCHDOG=1"] * 3, "STOPPING=1"]
    notifier.stopping()  # nobody listens any more


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", None)
    Notifier().alive(0)
    Notifier().stopping()


def test_a_unit_keeps_events_too(tiny: Path, tmp_path: Path) -> None:
    text = unit(tiny, tmp_path, "--trigger", "--control", "unix:/run/record/ctl")
    [command] = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command.endswith("--trigger --control unix:/run/record/ctl")
