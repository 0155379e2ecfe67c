"""Lines on standard error that no terminal can hold up."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable

import click

from vidtok_edge.commands.terminal import columns, shown

__all__ = ["StatusLine", "to_stderr"]

_CLEAR = "\r\x1b[K"
_MOST_NOTES = 1000


class StatusLine:
    """A status that is written over, and notes that stay; a context manager.

    They are written by a thread. A terminal that is stopped (Ctrl-S, a network that stalls) holds
    up that thread alone, which then leaves out all but the newest status and notes; one that is
    closed ends it.

    Args:
        write: takes text.
        terminal: whether a line can be written over; where not, there are notes alone.
    """

    def __init__(self, write: Callable[[str], object], terminal: bool) -> None:
        self._write, self._terminal = write, terminal
        self._changed = threading.Condition()
        self._notes: deque[str] = deque(maxlen=_MOST_NOTES)
        self._status, self._shown = "", ""
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="status line", daemon=True)
        self._thread.start()

    def show(self, status: str) -> None:
        """Write over the status."""
        with self._changed:
            self._status = shown(status, one_line=True)
            self._changed.notify()

    def note(self, line: str) -> None:
        """Write a line that stays."""
        with self._changed:
            self._notes.append(shown(line, one_line=True))
            self._changed.notify()

    def close(self, patience_s: float = 1.0) -> None:
        """Take the status away; idempotent. What a terminal does not take in time is left out."""
        with self._changed:
            self._closing, self._status = True, ""
            self._changed.notify()
        self._thread.join(patience_s)

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _work(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                while not (self._closing or self._notes or self._status != self._shown):
                    self._changed.wait()
                closing = self._closing
                text = self._text()
            try:
                self._write(text)
            except OSError:  # the terminal is gone
                return

    def _text(self) -> str:
        notes = "".join(f"{note}\n" for note in self._notes)
        self._notes.clear()
        if not self._terminal:
            return notes
        self._shown = self._status
        # A line that the terminal breaks is not written over.
        return f"{_CLEAR}{notes}{self._status[: columns() - 1]}"


def to_stderr(text: str) -> None:
    """Write past Python's buffer: its lock, held in a write that hangs, would hang the exit too."""
    if sys.stderr is None:  # it was closed before this program began
        return
    try:
        number = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        click.echo(text, nl=False, err=True)
    else:
        os.write(number, text.encode(errors="replace"))
