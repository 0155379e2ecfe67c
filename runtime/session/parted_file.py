"""A session's recording in parts: each opens alone, the oldest finished ones make room.

Parts are called by their first moment, `drive-20261127T101500.000Z.mcap`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidtok_edge.errors import OutputNotWritable, UsageError
from vidtok_edge.runtime.session.awaited_file import EVERYTHING, AwaitedFile
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.parts_index import Part, PartsIndex
from vidtok_edge.runtime.session.samples import SampleTally
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.streaming.records import LatentRecord, Record, Sample

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter

__all__ = ["PartedFile"]

_PER_FLUSH = 2048  # bytes of index for each, with sixteen channels


class PartedFile(AwaitedFile):
    """An `AwaitedFile` whose recording is cut into parts, each of which is one.

    Args:
        output: as the user named the recording; parts and the index lie beside it.
        open_writer: makes the recording at a path.
        notice: told when parts are removed.
        tally: told of each sample that is written, or let go.
        force: begin a new list; parts of before stay where they are, and count for nothing.

    Raises:
        RecordingError: the list of before cannot be read.
        RecordingBusy: another session goes on with it.
        OutputNotWritable: the list cannot be written.
    """

    def __init__(
        self,
        output: Path,
        open_writer: Callable[[Path], RecordingWriter],
        plan: PartsPlan,
        notice: Callable[[str], None],
        *,
        tally: SampleTally | None = None,
        force: bool = False,
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(self._open_part, tally)
        self._output, self._open_at = output, open_writer
        self._plan, self._notice, self._clock = plan, notice, clock
        self._index = PartsIndex(output, plan, force=force)
        self._stays = ""
        """The part that could not be removed."""
        self._begun_ns = 0
        self._checked_ns = 0
        self._largest = 0
        self._before = 0
        self._flushes = 0

    @property
    def events(self) -> int:
        """That were kept; of a `TriggeredFile`."""
        return 0

    @property
    def event_is_over(self) -> bool:
        """The part ends because an event does: what was captured by now belongs to it."""
        return False

    def facts(self) -> dict[str, Any]:
        """How it stands, for JSON."""
        return {"parts": self._index.kept}

    def trigger(self, why: str) -> bool:
        """Keep an event. Raises UsageError: only a `TriggeredFile` does."""
        raise UsageError(EVERYTHING)

    @property
    def writing(self) -> bool:
        """Whether there is a part that is not finished."""
        return self._writer is not None

    @property
    def end_detail(self) -> str:
        """Why sources end in the part that `due` says to end."""
        return "goes on in the next part"

    @property
    def safe_bytes(self) -> int:
        """Of the part that is being written, and those of this session that are kept."""
        return self._index.session_bytes + super().safe_bytes

    def take(self, record: Record) -> None:
        super().take(record)
        if isinstance(record, LatentRecord) and self._writer is not None:
            part = self._index.last
            part.latents += 1
            part.end_ns = max(part.end_ns, record.wall_time_ns)

    def due(self, now_ns: int) -> bool:
        """Whether the part ends now: the streams are finished then, and `end_part` follows."""
        if self._writer is None:
            return False
        plan, size = self._plan, self._writer.safe_bytes
        if size != self._before:
            self._largest = max(self._largest, size - self._before)
            self._before, self._flushes = size, self._flushes + 1
        # What waits, as much as the largest flush so far, and the index, which grows with each.
        to_come = 2 * self._largest + _PER_FLUSH * (self._flushes + 16)
        if plan.split_bytes is not None and size + to_come > plan.split_bytes:
            return True
        return plan.split_s is not None and now_ns - self._begun_ns >= plan.split_s * 1e9

    def end_part(self) -> None:
        """Finish the part; the next stream that begins opens another."""
        if self._writer is None:
            return
        path = self._output.with_name(self._index.last.file)
        self._writer.close()
        self._writer = None
        part = self._index.last
        part.bytes, part.finished = path.stat().st_size, True
        self._make_room()
        self._index.write()

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        super().tick(now_ns, busy_ns)
        if now_ns - self._checked_ns >= 1e9:
            self._checked_ns = now_ns
            if self._make_room():
                self._index.write()

    def close(self) -> None:
        """Let another session go on with the list, also where this one never began."""
        self._index.close()

    def __exit__(self, *exc: Any) -> None:
        with closing(self):
            self._end(*exc)

    def _end(self, *exc: Any) -> None:
        try:
            super().__exit__(*exc)
        except OutputNotWritable:  # else the list would not say what is there
            with suppress(OutputNotWritable):
                self._end_last(finished=False)
            raise
        if exc[0] is None:
            self._end_last(finished=True)
            return
        with suppress(OutputNotWritable):  # the first error says more
            self._end_last(finished=False)

    def _end_last(self, *, finished: bool) -> None:
        """Say in the list how the part ended that was being written, if one was."""
        if self._writer is None:
            return
        part = self._index.last
        try:
            part.bytes = self._output.with_name(part.file).stat().st_size
            part.finished = finished
        except OSError:  # the disk was full as it began, and it was not kept
            self._index.parts.pop()
        self._writer = None
        self._make_room()
        self._index.write()

    def _write(self, writer: RecordingWriter, sample: Sample, fields: Sequence[str]) -> None:
        super()._write(writer, sample, fields)
        self._index.last.samples += 1

    def _begins(self) -> tuple[int, int]:
        """When a part that is opened now begins: monotonic and wall time."""
        return self._clock.now()

    def _open_part(self) -> RecordingWriter:
        now_ns, wall_ns = self._begins()
        at = datetime.fromtimestamp(wall_ns / 1e9, timezone.utc)
        name = f"{self._output.stem}-{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z"
        path = self._output.with_name(f"{name}{self._output.suffix}")
        number = 1
        while os.path.lexists(path):  # the wall clock went back
            path = self._output.with_name(f"{name}-{number}{self._output.suffix}")
            number += 1
        writer = self._open_at(path)
        self._index.parts.append(Part(file=path.name, begin_ns=wall_ns, end_ns=wall_ns))
        self._begun_ns, self._largest, self._before, self._flushes = now_ns, 0, 0, 0
        try:
            self._index.write()
        except BaseException:
            self._index.parts.pop()
            writer.discard()
            raise
        return writer

    def _make_room(self) -> bool:
        """Remove the oldest finished parts while the budget asks for it; whether any went."""
        went = []
        index = self._index
        while self._over_budget() and (oldest := index.oldest(writing=self.writing)) is not None:
            try:
                self._output.with_name(oldest.file).unlink(missing_ok=True)
            except OSError as error:
                if oldest.file != self._stays:
                    self._stays = oldest.file
                    self._notice(
                        f"the oldest part, {oldest.file}, cannot be removed: {error.strerror}; "
                        "nothing makes room until it can"
                    )
                break
            oldest.removed = True
            went.append(oldest)
        index.forget()
        if went:
            freed = sum(part.bytes for part in went) / 1e6
            self._notice(
                f"{len(went)} of the oldest parts went to make room, {freed:.1f} MB: "
                f"{', '.join(part.file for part in went[:4])}{' ...' if len(went) > 4 else ''}"
            )
        return bool(went)

    def _over_budget(self) -> bool:
        plan = self._plan
        if plan.keep_bytes is not None:
            growing = super().safe_bytes
            if self._index.kept_bytes + growing > plan.keep_bytes:
                return True
        if plan.keep_free_bytes is None:
            return False
        return shutil.disk_usage(self._output.resolve().parent).free < plan.keep_free_bytes
