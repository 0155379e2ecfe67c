"""What is left out of data channels while a recording is paused."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from vidtok_edge.runtime.session.awaited_file import GAPS
from vidtok_edge.runtime.streaming.records import Sample

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.data_log import Logged

__all__ = ["Pausing"]


class Pausing:
    """Counts the samples that come in a pause."""

    def __init__(self) -> None:
        self._left_out: Counter[str] = Counter()

    def passes(self, logged: Logged) -> bool:
        """Whether a sample is recorded all the same: one that says what is missing is."""
        if logged.sample.channel == GAPS:
            return True
        self._left_out[logged.sample.channel] += 1
        return False

    def told(self, now_ns: int, wall_ns: int) -> Sample | None:
        """An event that says how many were left out; None: none was."""
        if not self._left_out:
            return None
        text = json.dumps({"paused": dict(self._left_out)})
        return Sample(channel=GAPS, time_ns=now_ns, wall_time_ns=wall_ns, text=text)
