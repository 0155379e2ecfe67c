"""A view that is not waited for, or not for long: a process of its own behind a short queue.

Rerun's own calls wait, also in their clean-up, when the viewer or the network does not read; in
the process that records, that would be the end of real time, and replay would never end.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import c_uint64
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.streaming.gap_decoder import GapDecoder, TimedPicture
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, ShownLatent
from vidtok_edge.runtime.viewing.target import ViewTarget

if TYPE_CHECKING:
    from vidtok_edge.runtime.viewing.rerun_log import RerunLog

__all__ = ["MOST_WAITING", "LiveView", "ViewPlan", "received"]

MOST_WAITING = 64  # things to show; of four cameras about half a second
_PATIENCE_S = 10.0  # for the viewer to show one more of what it was given
_LOOK_UP_S = 0.1
_START_S = 30.0  # for its process to start, which on a small board that is busy takes long


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPlan:
    """What is shown and where."""

    target: ViewTarget
    names: tuple[str, ...]
    bundle: Path
    backend: str = "auto"
    precision: str | None = None
    decode: bool = False
    """Also show what the decoder makes of the latents; it runs in the view's process."""
    force: bool = False
    pictures: tuple[str, ...] = ("frame", "tokens")
    """What is laid out for each source; `decode` adds its own."""


class LiveView:
    """Shows what it is given, in a process that can be given up. A context manager."""

    def __init__(self, plan: ViewPlan) -> None:
        """Raises as `ViewTarget.check`."""
        plan.target.check(plan.force)
        self._target = plan.target
        context = multiprocessing.get_context("spawn")
        reader, self._writer = context.Pipe(duplex=False)
        self._done = context.RawValue(c_uint64, 0)
        """Counts what the process has done, its start too."""
        self._process = context.Process(
            target=_show_all, args=(plan, reader, self._done), daemon=True
        )
        atexit.register(self._kill)  # Ctrl-C may come before anyone can close this
        self._process.start()
        reader.close()  # so that writing fails when the process is gone
        self._queue: queue.Queue[Shown | None] = queue.Queue(MOST_WAITING)
        self._counting = threading.Lock()
        self.left_out = 0
        """Things that were not shown, because the viewer was too slow or gone."""
        self._thread = threading.Thread(target=self._feed, name="view", daemon=True)
        self._thread.start()

    @property
    def process_id(self) -> int:
        """Of the process that shows."""
        number = self._process.pid
        assert number is not None  # it was started
        return number

    @property
    def running(self) -> bool:
        """Whether the process is there, or the thread that feeds it."""
        return self._process.is_alive() or self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Things that are not being sent yet, at most `MOST_WAITING`."""
        return self._queue.qsize()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        if stopped and self._target.kind != "file":  # that would be lost
            self._process.kill()
        self.close()

    def show(self, what: Shown) -> None:
        """Show it, or leave it out; returns at once."""
        if not self._put(what, 0):
            self._leave_out()

    def show_all(self, what: Shown) -> None:
        """Show it, after a while of waiting if need be. Then `finish`.

        Raises:
            UsageError: the viewer takes nothing any more.
        """
        if not self._in_time(partial(self._put, what)):
            self._process.kill()
            raise self._not_shown()

    def finish(self) -> None:
        """Close it. Raises UsageError where something was not shown."""
        self.close()
        if self.left_out or self._process.exitcode:
            raise self._not_shown()

    def _not_shown(self) -> UsageError:
        return UsageError(
            f"Not everything was shown: the view to {self._target.place or 'a window'} failed, or "
            f"took nothing for {_PATIENCE_S:g} s. Start the viewer again, or view to a file.rrd."
        )

    def close(self) -> None:
        """Wait a while for what is not shown yet, then end the process. Idempotent."""
        try:
            self._in_time(partial(self._put, None))
            self._in_time(self._has_ended)
        finally:  # also at a second Ctrl-C
            self._kill()
            self._process.join()
        atexit.unregister(self._kill)
        self._put(None, _PATIENCE_S)  # nobody reads any more: if there was no room, there is now
        self._thread.join(_PATIENCE_S)
        self._writer.close()

    def _kill(self) -> None:
        """End the process at once: it ignores the SIGTERM that Python sends at exit, and Python
        would wait for it, as it does for Python."""
        if self._process.pid is not None:
            self._process.kill()

    def _in_time(self, attempt: Callable[[float], bool]) -> bool:
        """Try until it succeeds, or the process has done nothing for too long; whether it did.

        Args:
            attempt: takes at most as many seconds as it is given.
        """
        done, since = self._done.value, time.monotonic()
        while not attempt(_LOOK_UP_S):
            if self._done.value != done:
                done, since = self._done.value, time.monotonic()
            elif time.monotonic() - since > (_PATIENCE_S if done else _START_S):
                return False
        return True

    def _put(self, what: Shown | None, seconds: float) -> bool:
        try:
            self._queue.put(what, timeout=seconds)
        except queue.Full:
            return False
        return True

    def _has_ended(self, seconds: float) -> bool:
        self._process.join(seconds)
        return not self._process.is_alive()

    def _feed(self) -> None:
        gone = False
        while (what := self._queue.get()) is not None:
            try:
                if not gone:
                    self._writer.send(what)
            except OSError:  # it was closed, or it failed and said why
                gone = True
            if gone:
                self._leave_out()
        with suppress(OSError):
            self._writer.send(None)

    def _leave_out(self) -> None:
        with self._counting:  # the threads of all sources come here
            self.left_out += 1


def _show_all(plan: ViewPlan, reader: Connection, done: c_uint64) -> None:
    """The process: show what comes until None, or until the one that records is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # for the one that records
        signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by Rerun's window
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    from vidtok_edge.runtime.viewing.rerun_log import RerunLog  # Rerun is for this process only

    bundle = Bundle.load(plan.bundle)
    pictures = (*plan.pictures, "reconstruction") if plan.decode else plan.pictures
    levels = bundle.manifest.model.levels
    with (
        RerunLog.open(plan.target, plan.names, levels, pictures, plan.force) as log,
        _reconstructions(plan, bundle) as decoder,
    ):
        done.value += 1
        for what in received(reader):
            log.show(what)
            done.value += 1
            if decoder is not None and isinstance(what, ShownLatent):
                _show_decoded(
                    log,
                    decoder.push(
                        what.source, what.stream, what.index, what.values, what.frame_times_ns
                    ),
                )
        if decoder is not None:
            for source in range(len(plan.names)):
                _show_decoded(log, decoder.finish(source))


def _end_with_parent() -> None:
    """Where the viewer does not read, what shows never learns that nothing more comes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(_PATIENCE_S)
    os._exit(1)


def received(reader: Connection) -> Iterator[Shown]:
    """What was sent, until None or until the sender died."""
    with suppress(EOFError, OSError):  # OSError: it died while it sent
        while (what := reader.recv()) is not None:
            yield what


@contextmanager
def _reconstructions(plan: ViewPlan, bundle: Bundle) -> Iterator[GapDecoder | None]:
    if not plan.decode:
        yield None
        return
    with bundle.decoder(plan.backend, precision=plan.precision) as decoder:
        yield GapDecoder(decoder)


def _show_decoded(log: RerunLog, pictures: Iterator[TimedPicture]) -> None:
    for picture in pictures:
        frame = ShownFrame(picture.slot, picture.time_ns, picture.pixels, "reconstruction")
        log.show(frame)
