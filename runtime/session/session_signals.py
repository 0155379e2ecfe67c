"""Signals that end a session, pause it, or keep an event."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vidtok_edge.runtime.session.control import Control, Word

__all__ = ["control_on_signals", "stop_on_signals"]


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set. The second of them is not waited for."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        _restore(before)  # first: a second signal inside `set` would wait for its lock for ever
        stop.set()

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if before[number] is not signal.SIG_IGN or number != signal.SIGHUP:  # nohup
            signal.signal(number, handle)
    try:
        yield stop
    finally:
        _restore(before)


@contextmanager
def control_on_signals() -> Iterator[Control]:
    """What SIGUSR1 asks to keep an event, and SIGUSR2 to pause or to go on.

    Behind it they are ignored where they would end the process, which may still write what it did.
    """
    control = Control()
    words: dict[signal.Signals, Word] = {signal.SIGUSR1: "trigger", signal.SIGUSR2: "toggle"}

    def handle(number: int, frame: FrameType | None) -> None:
        one = signal.Signals(number)
        control.ask(words[one], one.name, unheard=True)

    before = {number: signal.signal(number, handle) for number in words}
    behind = {
        number: signal.SIG_IGN if handler == signal.SIG_DFL else handler
        for number, handler in before.items()
    }
    try:
        yield control
    finally:
        _restore(behind)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
