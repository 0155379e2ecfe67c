"""A session that keeps events: what lies around a moment is written, and nothing else.

Each event is a part as `parted_file` has them, called by its first moment and listed. It begins
with what the ring holds, and ends so long after the last trigger as was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.session.parted_file import PartedFile
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.ring import Ring, renumbered
from vidtok_edge.runtime.session.samples import TRIGGERS, Logged, SampleTally
from vidtok_edge.runtime.session.trigger import TriggerPlan, TriggerWhen
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.streaming.records import Marker, Picture, Record, Sample

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter

__all__ = ["TriggeredFile", "require_room"]

_FLUSH_EVERY = 256  # records of the ring: what fits on a disk that fills is kept


def require_room(plan: PartsPlan, trigger: TriggerPlan, key_interval_s: float) -> None:
    """Raise UsageError where an event's beginning alone would be too much for a part."""
    longest_s = trigger.before_s + key_interval_s
    if plan.split_s is not None and plan.split_s < 2 * longest_s:
        raise UsageError(
            f"A part lasts {plan.split_s:g} s, and an event begins with up to {longest_s:g} s of "
            f"before: {trigger.before_s:g} s and the time between keys. Let parts last "
            f"{2 * longest_s:g} s or more, or look back less."
        )
    if plan.split_bytes is not None and plan.split_bytes < 2 * trigger.ring_bytes:
        raise UsageError(
            f"A part has {plan.split_bytes} bytes, and an event begins with up to "
            f"{trigger.ring_bytes} of before. Let parts have {2 * trigger.ring_bytes} or more, or "
            "make the ring smaller."
        )


class TriggeredFile(PartedFile):
    """A `PartedFile` whose parts are events; between them what comes goes into a ring.

    Args:
        tokenizer: of the latents.
        trigger: how much is kept around a moment.
        output, open_writer, plan, notice, tally, force: as of `PartedFile`.
    """

    def __init__(
        self,
        output: Path,
        open_writer: Callable[[Path], RecordingWriter],
        plan: PartsPlan,
        notice: Callable[[str], None],
        *,
        tokenizer: Tokenizer,
        trigger: TriggerPlan,
        tally: SampleTally | None = None,
        force: bool = False,
        clock: Clock = CLOCK,
    ) -> None:
        self.ring = Ring(tokenizer, seconds=trigger.before_s, most_bytes=trigger.ring_bytes)
        super().__init__(output, open_writer, plan, notice, tally=tally, force=force, clock=clock)
        self._events = 0
        self._trigger = trigger
        self._until_ns: int | None = None
        self._first: tuple[int, int] | None = None
        """When the first thing of the ring was, while it is written."""
        self._bases: dict[int, tuple[int, int]] = {}
        """Streams and latents of each source that lie before the file."""
        self._true: set[TriggerWhen] = set()
        self._told_cut = False

    @property
    def events(self) -> int:
        """That have begun."""
        return self._events

    @property
    def ends_in_s(self) -> float | None:
        """How long the event goes on that is being written; None: there is none."""
        if self._until_ns is None:
            return None
        return max(0.0, (self._until_ns - self._clock.monotonic_ns()) / 1e9)

    @property
    def event_is_over(self) -> bool:
        return self.ends_in_s == 0

    @property
    def end_detail(self) -> str:
        return "the event is over" if self.event_is_over else super().end_detail

    def facts(self) -> dict[str, Any]:
        """How it stands, for JSON."""
        begun_ns, ends_in_s = self.ring.begun_ns, self.ends_in_s
        now_ns = self._clock.monotonic_ns()
        return {
            **super().facts(),
            "state": "waiting" if ends_in_s is None else "recording",
            "events": self.events,
            "event_ends_in_s": None if ends_in_s is None else round(ends_in_s, 3),
            "ring_s": 0.0 if begun_ns is None else round((now_ns - begun_ns) / 1e9, 3),
            "ring_bytes": self.ring.bytes,
            "ring_most_bytes": self.ring.most_bytes,
        }

    def trigger(self, why: str) -> bool:
        """Begin an event, or let the one that is being written go on; whether it began one.

        Raises:
            UsageError: no frame has come of which an event could be made.
            RecordingBusy: another session made the list; what the ring held is gone.
            OutputNotWritable: the disk is full, or the folder was taken away.
        """
        now_ns, wall_ns = self._clock.now()
        began = self._until_ns is None
        if began and not self.ring.has_stream:
            raise UsageError("No frame has come yet, so nothing can be kept. Look at the cameras.")
        until_ns = now_ns + round(self._trigger.after_s * 1e9)
        self._until_ns = max(self._until_ns or 0, until_ns)
        told: dict[str, Any] = {"why": why}
        if began:
            self._events += 1
            told["looks_back_s"] = round((now_ns - self._write_ring()) / 1e9, 3)
            self._notice(f"an event: {why}; {self._index.last.file}")
        text = json.dumps(told)
        self.log(Sample(channel=TRIGGERS, time_ns=now_ns, wall_time_ns=wall_ns, text=text))
        if began and self._writer is not None:
            self._writer.flush()
            self._before = self._writer.safe_bytes  # what one flush writes is not so much
        return began

    def take(self, record: Record) -> None:
        if self._until_ns is None:
            self.ring.take(record)
            return
        self._keep(record)

    def log(self, sample: Sample, fields: Sequence[str] = ()) -> None:
        if self._until_ns is None:
            self.ring.log(sample, fields, self._clock.monotonic_ns())
        else:
            super().log(sample, fields)
        for when in self._trigger.when:
            if when.channel == sample.channel:
                self._compare(when, sample)

    def show(self, picture: Picture) -> None:
        if self._until_ns is None:
            self.ring.show(picture, self._clock.monotonic_ns())
        else:
            super().show(picture)

    def due(self, now_ns: int) -> bool:
        over = self._until_ns is not None and now_ns >= self._until_ns
        return (over and self._writer is not None) or super().due(now_ns)

    def end_part(self) -> None:
        super().end_part()
        self._bases.clear()
        if self.event_is_over:
            self._end_event()

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        super().tick(now_ns, busy_ns)
        if self._until_ns is not None and self._writer is None and now_ns >= self._until_ns:
            self._end_event()  # between two parts of it no stream began
        self.ring.trim(now_ns)
        if self.ring.cut and not self._told_cut:
            self._told_cut = True
            self._notice(
                f"warning: the ring is full at {self.ring.most_bytes / 1e6:.1f} MB; events look "
                f"back less than {self._trigger.before_s:g} s"
            )

    def _compare(self, when: TriggerWhen, sample: Sample) -> None:
        """Trigger where a comparison comes true; hold the event open where it is still so."""
        if not when.holds(sample):
            self._true.discard(when)
        elif self._until_ns is None or when not in self._true:
            if self._until_ns is None and not self.ring.has_stream:
                return  # tried again with the next sample
            self._true.add(when)
            self.trigger(str(when))
        else:
            after_ns = round(self._trigger.after_s * 1e9)
            self._until_ns = max(self._until_ns, self._clock.monotonic_ns() + after_ns)

    def _end_event(self) -> None:
        self._until_ns = None
        for marker in self._held:
            self.ring.take(marker)
        for logged in self._samples:
            self.ring.log(logged.sample, logged.fields, self._clock.monotonic_ns())
        self._held.clear()
        self._samples.clear()

    def _write_ring(self) -> int:
        """Begin the file of an event with what is held; when the first stream in it began."""
        held = self.ring.taken()
        self._bases.clear()
        starts = (one for one in held if isinstance(one, Marker) and one.starts_stream)
        first = min(starts, key=lambda marker: marker.time_ns)
        self._first = first.time_ns, first.wall_time_ns
        try:
            for number, one in enumerate(held, 1):
                if isinstance(one, Logged):
                    super().log(one.sample, one.fields)
                elif isinstance(one, Picture):
                    super().show(one)
                else:
                    self._keep(one)
                if number % _FLUSH_EVERY == 0 and self._writer is not None:
                    self._writer.flush()
        finally:
            self._first = None
        return first.time_ns

    def _begins(self) -> tuple[int, int]:
        return super()._begins() if self._first is None else self._first

    def _keep(self, record: Record) -> None:
        """Give a record to the file of the event, numbered as it is in there."""
        base = self._bases.get(record.source)
        if isinstance(record, Marker):
            if base is None:
                base = record.stream, record.latents
            if record.starts_stream:
                self._bases.setdefault(record.source, base)
        elif base is None:
            return  # of a stream whose beginning the ring was too full to hold
        super().take(renumbered(record, streams=base[0], latents=base[1]))
