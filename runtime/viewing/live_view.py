"""A view of a session that must not wait for it: a process of its own behind a short queue.

Rerun's own calls wait, also in their clean-up, when the viewer or the network does not read; in
the process that records, that would be the end of real time.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.gap_decoder import GapDecoder, TimedPicture
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, ShownLatent
from vidtok_edge.runtime.viewing.target import ViewTarget

if TYPE_CHECKING:
    from vidtok_edge.runtime.viewing.rerun_log import RerunLog

__all__ = ["LiveView", "ViewPlan"]

_WAITING = 64  # things to show; of four cameras about half a second
_PATIENCE_S = 10.0  # for the viewer to show what it was given, at the end


@dataclass(frozen=True, slots=True)
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


class LiveView:
    """Shows what it is given, as long as that needs no waiting. A context manager."""

    def __init__(self, plan: ViewPlan) -> None:
        """Raises as `ViewTarget.check`."""
        plan.target.check(plan.force)
        context = multiprocessing.get_context("spawn")
        reader, self._writer = context.Pipe(duplex=False)
        self._process = context.Process(target=_show_all, args=(plan, reader), daemon=True)
        self._process.start()
        reader.close()  # so that writing fails when the process is gone
        self._queue: queue.Queue[Shown | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._feed, name="view", daemon=True)
        self._thread.start()
        self.left_out = 0
        """Things that were not shown, because the viewer was too slow or gone."""

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def show(self, what: Shown) -> None:
        """Show it, or leave it out; returns at once."""
        try:
            self._queue.put_nowait(what)
        except queue.Full:
            self.left_out += 1

    def close(self) -> None:
        """Wait a while for what is not shown yet, then end the process. Idempotent."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=_PATIENCE_S)
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._thread.join(_PATIENCE_S)  # nobody reads any more: it ends at once
        self._writer.close()

    def _feed(self) -> None:
        gone = False
        while (what := self._queue.get()) is not None:
            try:
                if not gone:
                    self._writer.send(what)
            except OSError:  # it was closed, or it failed and said why
                gone = True
            self.left_out += gone
        with suppress(OSError):
            self._writer.send(None)


def _show_all(plan: ViewPlan, reader: Connection) -> None:
    """The process: show what comes until None, or until the one that records is gone."""
    for number in (signal.SIGINT, signal.SIGHUP):  # meant for the one that records
        signal.signal(number, signal.SIG_IGN)
    from vidtok_edge.runtime.viewing.rerun_log import RerunLog  # Rerun is for this process only

    bundle = Bundle.load(plan.bundle)
    pictures = ("frame", "reconstruction", "tokens") if plan.decode else ("frame", "tokens")
    levels = bundle.manifest.model.levels
    with (
        RerunLog.open(plan.target, plan.names, levels, pictures, plan.force) as log,
        _reconstructions(plan, bundle) as decoder,
    ):
        for what in _received(reader):
            log.show(what)
            if decoder is not None and isinstance(what, ShownLatent):
                _show_decoded(log, decoder.push(
                    what.source, what.stream, what.index, what.values, what.frame_times_ns
                ))  # fmt: skip
        if decoder is not None:
            for source in range(len(plan.names)):
                _show_decoded(log, decoder.finish(source))


def _received(reader: Connection) -> Iterator[Shown]:
    with suppress(EOFError):
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
