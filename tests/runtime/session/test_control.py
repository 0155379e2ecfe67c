"""What is asked of a session: by threads, by signals, and by lines on a socket that may be bad."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.session import control_socket
from vidtok_edge.runtime.session.control import Asked, Control
from vidtok_edge.runtime.session.control_socket import ControlSocket
from vidtok_edge.runtime.session.session_signals import control_on_signals


@contextmanager
def answering(control: Control) -> Iterator[list[Asked]]:
    """A session that answers with how many were asked before."""
    asked: list[Asked] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.005):
            for one in control.taken():
                one.answer({"ok": True, "before": len(asked)})
                asked.append(one)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()


class Caller:
    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.readline())
        return found

    def ask(self, line: bytes) -> dict[str, Any]:
        self.send(line + b"\n")
        return self.answer()

    def hung_up(self) -> bool:
        return self._file.readline() == b""

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_lines_are_answered_in_order(tmp_path: Path) -> None:
    path, control = tmp_path / "ctl", Control()
    with answering(control) as asked, ControlSocket(f"unix:{path}", control, lambda text: None):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, "for the user alone"
        caller = Caller(path)
        caller.send(b"status\ntrigger left bumper\n\n  pause \nresume\ntrigger\n")
        assert [caller.answer()["before"] for _ in range(5)] == [0, 1, 2, 3, 4]
        caller.close()
    assert [(one.word, one.why) for one in asked] == [
        ("status", "asked for"),
        ("trigger", "left bumper"),
        ("pause", "asked for"),
        ("resume", "asked for"),
        ("trigger", "asked for"),
    ]
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"stop", "'stop' is none of trigger, pause, resume, status."),
        (b"toggle", "'toggle' is none of"),
        (b"pause now", "'pause now' is none of"),
        (b"TRIGGER", "'TRIGGER' is none of"),
        (b"\xff\x00\xfe", "is none of"),
        (b'{"a": 1}', "is none of"),
        (b"x" * 5000, "A line has 1024 bytes at most."),
        (b"trigger " + b"x" * 5000, "A line has 1024 bytes at most."),
    ],
)
def test_other_lines_are_refused_and_the_next_one_is_read(
    tmp_path: Path, line: bytes, said: str
) -> None:
    path, control = tmp_path / "ctl", Control()
    with answering(control) as asked, ControlSocket(f"unix:{path}", control, lambda text: None):
        caller = Caller(path)
        found = caller.ask(line)
        assert found["ok"] is False and said in found["error"]
        assert caller.ask(b"status") == {"ok": True, "before": 0}
        caller.close()
    assert [one.word for one in asked] == ["status"]


def test_a_caller_that_goes_in_the_middle_of_a_line_disturbs_nobody(tmp_path: Path) -> None:
    path, control = tmp_path / "ctl", Control()
    with answering(control), ControlSocket(f"unix:{path}", control, lambda text: None):
        for _ in range(3):
            caller = Caller(path)
            caller.send(b"stat")
            caller.close()
        with closing(Caller(path)) as caller:
            assert caller.ask(b"status")["ok"]


def test_callers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "_MOST_CALLERS", 2)
    path, control, said = tmp_path / "ctl", Control(), list[str]()
    with answering(control), ControlSocket(f"unix:{path}", control, said.append):
        callers = [Caller(path) for _ in range(2)]
        for caller in callers:
            assert caller.ask(b"status")["ok"]
        for _ in range(3):
            with closing(Caller(path)) as one:
                assert one.hung_up(), "it was sent away"
        assert callers[0].ask(b"status")["ok"]
        for caller in callers:
            caller.close()
    assert len(said) == 1 and "more than 2 callers" in said[0]


def test_a_socket_that_is_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with (
        ControlSocket(f"unix:{path}", Control(), lambda text: None),
        pytest.raises(SourceError, match="somebody listens there"),
    ):
        ControlSocket(f"unix:{path}", Control(), lambda text: None)
    path.write_text("mine")
    with pytest.raises(SourceError, match="it is no socket"):
        ControlSocket(f"unix:{path}", Control(), lambda text: None)
    assert path.read_text() == "mine"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="it is no socket"):
        ControlSocket(f"unix:{path}", Control(), lambda text: None)


@pytest.mark.parametrize("spec", ["ctl", "unix:", "tcp:1"])
def test_what_is_no_socket_is_said(spec: str) -> None:
    with pytest.raises(UsageError, match=r"is no control socket\. Write unix:PATH"):
        ControlSocket(spec, Control(), lambda text: None)


def test_a_session_that_does_not_answer_is_said() -> None:
    assert Control().status().wait(0.01) == {
        "ok": False,
        "error": "The session did not answer in 0.01 s.",
    }


def test_after_the_session_everything_is_answered_at_once() -> None:
    control = Control()
    before = control.pause()
    control.close()
    after = control.resume()
    for asked in (before, after):
        assert asked.wait(0) == {"ok": False, "error": "The session is over."}


def test_what_nobody_takes_does_not_grow() -> None:
    control = Control()
    answers = [control.trigger() for _ in range(2000)]
    assert len(list(control.taken())) == 1000
    assert "is busy" in answers[-1].wait(0)["error"]


@pytest.fixture
def user_signals() -> Iterator[None]:
    """SIGUSR1 as in a new process, and SIGUSR2 taken by one's own handler."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL), signal.signal(signal.SIGUSR2, theirs)
    yield
    signal.signal(signal.SIGUSR1, before[0])
    signal.signal(signal.SIGUSR2, before[1])


def theirs(number: int, frame: object) -> None:
    """A handler."""


@pytest.mark.usefixtures("user_signals")
def test_signals_ask_and_end_nothing_behind_the_session() -> None:
    with control_on_signals() as control:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        found = [(asked.word, asked.why, asked.unheard) for asked in control.taken()]
    assert found == [("trigger", "SIGUSR1", True), ("toggle", "SIGUSR2", True)]
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR2) is theirs
