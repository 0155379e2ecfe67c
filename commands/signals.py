"""Signals that end a command: it cleans up as after Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Terminated", "ending_signals"]

# What systemd, docker and `timeout` send, and what a terminal sends that is closed.
_SIGNALS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Terminated(KeyboardInterrupt):
    """A signal asked the command to end; whoever answers Ctrl-C answers this too.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def ending_signals() -> Iterator[None]:
    """Raise Terminated where SIGTERM or SIGHUP comes; a signal that is ignored stays so (nohup).

    The first counts alone: `timeout` sends SIGTERM twice, and cleaning up must not be cut off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers no signal to other threads
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = [number for number in _SIGNALS if before[number] is signal.SIG_DFL]
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        if not ending:
            ending = True
            raise Terminated(number)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
