"""Signals while TensorRT builds: it stops at its next step instead of taking the process down."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.held_signals import held_signals

__all__ = ["interruptible"]


@contextmanager
def interruptible(library: TensorRT) -> Iterator[Any]:
    """Yield a progress monitor for a builder config; then answer a signal that came meanwhile.

    An exception must not pass through TensorRT's C++, so the signal is only noted while it builds,
    and answered at its next step: milliseconds in most phases, 3 s in the longest step of the
    embedded decoder for TensorRT-RTX. A second one then ends the process at once.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        What the program's own handler of SIGTERM or SIGHUP raises, where it has one.
    """
    monitor = _monitor(library)

    def stop(number: int) -> None:
        monitor.stopped = True
        signal.signal(number, signal.SIG_DFL)

    with held_signals(stop):
        yield monitor


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
