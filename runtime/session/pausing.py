"""What is left out of data channels while a recording is paused."""

from __future__ import annotations

import json
from collections import Counter

from vidtok_edge.runtime.session.samples import GAPS, SampleTally
from vidtok_edge.runtime.streaming.records import Sample

__all__ = ["Pausing"]


class Pausing:
    """Counts the samples that come in a pause, as `tally` does of the session."""

    def __init__(self, tally: SampleTally | None = None) -> None:
        self._tally = tally or SampleTally()
        self._left_out: Counter[str] = Counter()

    def passes(self, sample: Sample) -> bool:
        """Whether a sample is recorded all the same: one that says what is missing is."""
        if sample.channel == GAPS:
            return True
        self._left_out[sample.channel] += 1
        self._tally.pause(sample.channel)
        return False

    def told(self, now_ns: int, wall_ns: int) -> Sample | None:
        """An event that says how many were left out; None: none was."""
        if not self._left_out:
            return None
        text = json.dumps({"paused": dict(self._left_out)})
        return Sample(channel=GAPS, time_ns=now_ns, wall_time_ns=wall_ns, text=text)
