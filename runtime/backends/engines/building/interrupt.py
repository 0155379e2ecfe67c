"""Ctrl-C while TensorRT builds: it stops at its next step instead of taking the process down."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vidtok_edge.runtime.backends.engines.api import TensorRT

__all__ = ["interruptible"]


@contextmanager
def interruptible(library: TensorRT) -> Iterator[Any]:
    """Yield a progress monitor for a builder config; raise KeyboardInterrupt after a Ctrl-C.

    An exception must not pass through TensorRT's C++, so the signal is only noted while it builds,
    and answered at its next step: milliseconds in most phases, 3 s in the longest step of the
    embedded decoder for TensorRT-RTX. A second Ctrl-C then ends the process at once.
    """
    monitor = _monitor(library)
    if threading.current_thread() is not threading.main_thread():
        yield monitor  # Python delivers no signal to other threads
        return

    def note(number: int, frame: object) -> None:
        monitor.stopped = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield monitor
    finally:
        signal.signal(signal.SIGINT, before)
    if monitor.stopped:
        raise KeyboardInterrupt


def _monitor(library: TensorRT) -> Any:
    base = library.IProgressMonitor

    class Monitor(base):  # type: ignore[misc, valid-type]  # a class known when it runs
        def __init__(self) -> None:
            base.__init__(self)  # pybind11: not through super()
            self.stopped = False

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            """Nothing to do: TensorRT asks for the method."""

        def step_complete(self, name: str, step: int) -> bool:
            return not self.stopped

        def phase_finish(self, name: str) -> None:
            """Nothing to do: TensorRT asks for the method."""

    return Monitor()
