"""What `record` writes to a terminal, also to one that is stopped or gone."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from vidtok_edge.commands.status_line import StatusLine, to_stderr


class Terminal:
    """Takes text, unless it is stopped or gone."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.runs = threading.Event()
        self.runs.set()
        self.busy = threading.Event()
        self.gone = False

    def write(self, text: str) -> None:
        self.busy.set()
        assert self.runs.wait(10)
        if self.gone:
            raise OSError(errno.EIO, "gone")
        self.texts.append(text)

    def shows(self, text: str) -> bool:
        """Whether it was written, soon."""
        until = time.monotonic() + 5
        while text not in "".join(self.texts) and time.monotonic() < until:
            time.sleep(0.001)
        return text in "".join(self.texts)


def test_a_status_is_written_over_and_notes_stay() -> None:
    terminal = Terminal()
    with StatusLine(terminal.write, terminal=True) as line:
        line.show("1 s")
        assert terminal.shows("1 s")
        line.note("camera lost")
        assert terminal.shows("camera lost\n1 s")
    assert terminal.texts[-1] == "\r\x1b[K" and "".join(terminal.texts).count("\n") == 1


def test_what_is_no_terminal_gets_notes_alone() -> None:
    terminal = Terminal()
    with StatusLine(terminal.write, terminal=False) as line:
        line.show("1 s")
        line.note("camera lost")
    assert "".join(terminal.texts) == "camera lost\n"


def test_a_stopped_terminal_holds_up_nobody_and_then_gets_the_newest() -> None:
    terminal = Terminal()
    line = StatusLine(terminal.write, terminal=True)
    terminal.runs.clear()
    line.note("the one that hangs")
    assert terminal.busy.wait(5)
    began = time.monotonic()
    for second in range(5000):
        line.show(f"{second} s")
        line.note(f"note {second}")
    line.close(patience_s=0.05)
    assert time.monotonic() - began < 5
    terminal.runs.set()
    assert terminal.shows("note 4999\n")
    assert "note 1000\n" not in "".join(terminal.texts), "memory is bounded"


def test_a_closed_terminal_is_no_error() -> None:
    terminal = Terminal()
    terminal.gone = True
    with StatusLine(terminal.write, terminal=True) as line:
        line.show("1 s")
        line.note("lost")
    assert terminal.texts == []


def test_standard_error_that_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr("1 s")
    assert capsys.readouterr().err == "1 s"
