"""Several streams in one batch, none of them held up for longer than was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.latents import Latents, Stamp

__all__ = ["Batching"]


class Batching:
    """Pushes frames into an encoder's slots and decides when its step runs.

    It runs when the chunks of all open slots are complete, also because the one that was missing
    has left, or when the oldest complete chunk has waited for `wait_s`, or when a slot whose
    chunk is complete gets its next frame. What runs together changes no slot's result. Nothing runs
    by itself: call `run_due` after `due_in_s`.

    Args:
        encoder: with as many slots as there are streams; closed by its owner.
        wait_s: how long a complete chunk waits for the others. 0 never waits; None waits for the
            slot's next frame only.
        monotonic_ns: the clock.
    """

    def __init__(
        self,
        encoder: StreamEncoder,
        wait_s: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if wait_s is not None and not 0 <= wait_s < 1e6:
            raise UsageError(f"The wait for a batch is {wait_s} s; allowed: 0 or more.")
        self.encoder = encoder
        self._wait_ns = None if wait_s is None else round(wait_s * 1e9)
        self._now_ns = monotonic_ns
        self._complete_since: dict[int, int] = {}

    def push(
        self,
        frame: NDArray[Any],
        *,
        slot: int = 0,
        capture_time_ns: int | None = None,
        stamp: Stamp | None = None,
    ) -> list[Latents]:
        """As `StreamEncoder.push`; latents of any slot may be ready."""
        results = self.encoder.push(frame, slot=slot, capture_time_ns=capture_time_ns, stamp=stamp)
        self._note()
        return results + self.run_due()

    def finish(self, slot: int = 0) -> list[Latents]:
        """As `StreamEncoder.finish`."""
        results = self.encoder.finish(slot)
        self._note()
        return results

    def due_in_s(self) -> float | None:
        """How long until `run_due` has something to do; None: not before another frame."""
        if self._wait_ns is None or not self._complete_since:
            return None
        left = min(self._complete_since.values()) + self._wait_ns - self._now_ns()
        return max(0.0, left / 1e9)

    def run_due(self) -> list[Latents]:
        """Run the step if a complete chunk has waited long enough."""
        return self.run_pending() if self.due_in_s() == 0 else []

    def run_pending(self) -> list[Latents]:
        """As `StreamEncoder.run_pending`: before a chunk has waited so long."""
        results = self.encoder.run_pending()
        self._note()
        return results

    def _note(self) -> None:
        """Remember since when chunks are complete."""
        pending, now_ns = self.encoder.pending, self._now_ns()
        self._complete_since = {slot: self._complete_since.get(slot, now_ns) for slot in pending}
