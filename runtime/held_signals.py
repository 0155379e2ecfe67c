"""Signals that wait while something runs that must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["held_signals"]

_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def held_signals(noticed: Callable[[int], None] = lambda number: None) -> Iterator[None]:
    """Answer Ctrl-C, SIGTERM and SIGHUP when the block has ended, and not inside it.

    Held back is what a handler in Python would raise. A signal that ends the process by itself, or
    is ignored, does so still. In other threads than the main one this does nothing: Python runs no
    handler there.

    Args:
        noticed: is told the number of a signal that came.

    Raises what the handler of the first signal raises: KeyboardInterrupt after Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    answers = {number: answer for number, answer in handlers.items() if callable(answer)}
    came: list[signal.Signals] = []

    def note(number: int, frame: object) -> None:
        came.append(signal.Signals(number))
        noticed(number)

    for number in answers:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, answer in answers.items():
            signal.signal(number, answer)
        for first in came[:1]:
            answers[first](first, None)
