"""A session's recording in parts: each opens alone, the oldest finished ones make room.

Parts are called by their first moment, `drive-20261127T101500.000Z.mcap`, and listed in
`drive.index.json`, which is written anew, beside and then renamed, whenever something changes. A
session that finds a list goes on with it, as after a crash: parts that were being written then are
as whole as `recover` makes any recording.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidtok_edge.bounded import read_at_most
from vidtok_edge.errors import OutputNotWritable, RecordingError, UsageError
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.session.awaited_file import EVERYTHING, AwaitedFile
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.streaming.records import LatentRecord, Record, Sample

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter

__all__ = ["LEAST_SPLIT", "PartedFile", "PartsPlan", "index_of", "parts_in", "parts_of_before"]

LEAST_SPLIT = 1_000_000
"""Bytes: a part that is much smaller is all index."""
_INDEX_SCHEMA = 1
_INDEX_END = ".index.json"
_LARGEST_INDEX = 64 << 20
_MOST_REMOVED = 1000  # that stay in the list
_LONGEST_NAME = 250  # bytes
_PER_FLUSH = 2048  # bytes of index for each, with sixteen channels


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsPlan:
    """When a part ends, and what is kept.

    Raises:
        UsageError: values that mean nothing, or that contradict one another.
    """

    split_bytes: int | None = None
    """No part is larger."""
    split_s: float | None = None
    """No part lasts longer, by more than a step."""
    keep_bytes: int | None = None
    """The oldest finished parts go when all of them have more, with the one being written."""
    keep_free_bytes: int | None = None
    """They also go when the disk has less."""
    events: bool = False
    """A part is an event, and nothing is written between them; see `TriggeredFile`."""

    def __post_init__(self) -> None:
        if self.split_bytes is not None and self.split_bytes < LEAST_SPLIT:
            raise UsageError(
                f"A part has {self.split_bytes} bytes; allowed: {LEAST_SPLIT} or more."
            )
        if self.split_s is not None and not 1 <= self.split_s < 1e9:
            raise UsageError(f"A part lasts {self.split_s:g} s; allowed: 1 or more.")
        keeps = self.keep_bytes is not None or self.keep_free_bytes is not None
        if keeps and not self.splits:
            raise UsageError(
                "Only finished parts are removed to make room. Say how large a part is with "
                "--split-size, or how long with --split-minutes, or keep events with --trigger."
            )
        if self.keep_bytes is not None and self.keep_bytes < 2 * (self.split_bytes or 1):
            raise UsageError(
                f"All parts together have {self.keep_bytes} bytes, and two of them would have "
                f"{2 * (self.split_bytes or 1)}. Keep more, or make parts smaller."
            )

    @property
    def splits(self) -> bool:
        """Whether there are parts."""
        return self.events or self.split_bytes is not None or self.split_s is not None


@dataclass(slots=True, kw_only=True)
class _Part:
    """A line of the index. Times are wall clock time in nanoseconds."""

    file: str
    begin_ns: int
    end_ns: int
    latents: int = 0
    samples: int = 0
    bytes: int = 0
    finished: bool = False
    removed: bool = False
    """To make room."""


def parts_in(path: Path) -> list[Path]:
    """The parts that a list names and were not removed, in order; any other path is itself.

    Raises RecordingError: the list cannot be read, or a part that it names is not there.
    """
    if not path.name.endswith(_INDEX_END):
        return [path]
    found = [path.with_name(part.file) for part in _listed(path) if not part.removed]
    for part in found:
        if not part.is_file():
            raise RecordingError(
                f"{part.name} is listed in {path} and is not there. Copy it beside the list, or "
                "name the parts themselves."
            )
    return [part for part in found if part.stat().st_size]  # else it was cut off as it began


_FIELDS: dict[str, type] = {
    "file": str,
    "begin_ns": int,
    "end_ns": int,
    "latents": int,
    "samples": int,
    "bytes": int,
    "finished": bool,
    "removed": bool,
}


def parts_of_before(output: Path) -> list[_Part]:
    """What the list beside `output` says, and how large the part is that was cut off."""
    index = index_of(output)
    if not os.path.lexists(index):
        return []
    from vidtok_edge.runtime.recording.format.growing_file import require_unlocked

    parts = _listed(index)
    for part in parts:
        path = output.with_name(part.file)
        require_unlocked(path)
        part.finished = True
        part.removed |= not path.is_file()
        if not part.removed:
            part.bytes = path.stat().st_size
    return parts


def _listed(index: Path) -> list[_Part]:
    """What a list says. Raises RecordingError: it is none."""
    try:
        found = json.loads(read_at_most(index, _LARGEST_INDEX))
        if found["schema"] != _INDEX_SCHEMA:
            raise ValueError(f"schema {found['schema']!r}, expected {_INDEX_SCHEMA}")
        parts = [
            _Part(**{key: _checked(key, part[key]) for key in _FIELDS}) for part in found["parts"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordingError(
            f"{index} cannot be read as a list of parts: {error!r:.200}. Move it away, or begin a "
            "new one with --force."
        ) from None
    return parts


def _checked(key: str, value: Any) -> Any:
    """A field of a part. ValueError: of another type, or a name that leads elsewhere."""
    if type(value) is not _FIELDS[key] or (isinstance(value, int) and value < 0):
        raise ValueError(f"{key} is {value!r:.80}")
    named = not isinstance(value, str) or (
        Path(value).name == value
        and not value.startswith(".")
        and 0 < len(os.fsencode(value)) < _LONGEST_NAME
        and "\0" not in value
    )
    if not named:
        raise ValueError(f"a part is called {value!r:.80}")
    return value


def index_of(output: Path) -> Path:
    """Where the parts of a recording are listed."""
    return output.with_name(f"{output.stem}{_INDEX_END}")


def _bytes_of(parts: Sequence[_Part]) -> int:
    """Of those that are finished and there."""
    return sum(part.bytes for part in parts if part.finished and not part.removed)


class PartedFile(AwaitedFile):
    """An `AwaitedFile` whose recording is cut into parts, each of which is one.

    Args:
        output: as the user named the recording; parts and the index lie beside it.
        open_writer: makes the recording at a path.
        notice: told when parts are removed.
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
        force: bool = False,
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(self._open_part)
        self._output, self._open_at = output, open_writer
        self._plan, self._notice, self._clock = plan, notice, clock
        self._plan_json = json.dumps(asdict(plan))
        self._parts = [] if force else parts_of_before(output)
        self._of_before = len(self._parts)
        self._stays = ""
        """The part that could not be removed."""
        self._begun_ns = 0
        self._checked_ns = 0
        self._largest = 0
        self._before = 0
        self._flushes = 0
        self._known: dict[str, Sequence[str]] = {}

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
        return {"parts": sum(not part.removed for part in self._parts)}

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
        return _bytes_of(self._parts[self._of_before :]) + super().safe_bytes

    def take(self, record: Record) -> None:
        super().take(record)
        if isinstance(record, LatentRecord) and self._writer is not None:
            part = self._parts[-1]
            part.latents += 1
            part.end_ns = max(part.end_ns, record.wall_time_ns)

    def log(self, sample: Sample, fields: Sequence[str] = ()) -> None:
        known = self._known.setdefault(sample.channel, fields)
        super().log(sample, known)  # each part says it again
        if self._writer is not None:
            self._parts[-1].samples += 1

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
        path = self._output.with_name(self._parts[-1].file)
        self._writer.close()
        self._writer = None
        part = self._parts[-1]
        part.bytes, part.finished = path.stat().st_size, True
        self._make_room()
        self._write_index()

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        super().tick(now_ns, busy_ns)
        if now_ns - self._checked_ns >= 1e9:
            self._checked_ns = now_ns
            if self._make_room():
                self._write_index()

    def __exit__(self, *exc: Any) -> None:
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
        part = self._parts[-1]
        with suppress(OSError):
            part.bytes = self._output.with_name(part.file).stat().st_size
        part.finished = finished
        self._writer = None
        self._make_room()
        self._write_index()

    def _write_samples(self, writer: RecordingWriter) -> None:
        self._parts[-1].samples += len(self._samples)
        super()._write_samples(writer)

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
        self._parts.append(_Part(file=path.name, begin_ns=wall_ns, end_ns=wall_ns))
        self._begun_ns, self._largest, self._before, self._flushes = now_ns, 0, 0, 0
        try:
            self._write_index()
        except BaseException:
            writer.close()
            raise
        return writer

    def _make_room(self) -> bool:
        """Remove the oldest finished parts while the budget asks for it; whether any went."""
        went = []
        while self._over_budget() and (oldest := self._oldest()) is not None:
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
        self._forget()
        if went:
            freed = sum(part.bytes for part in went) / 1e6
            self._notice(
                f"{len(went)} of the oldest parts went to make room, {freed:.1f} MB: "
                f"{', '.join(part.file for part in went[:4])}{' ...' if len(went) > 4 else ''}"
            )
        return bool(went)

    def _forget(self) -> None:
        """Take the oldest removed parts off a list that would grow for ever."""
        removed = [number for number, part in enumerate(self._parts) if part.removed]
        for number in reversed(removed[:-_MOST_REMOVED]):
            del self._parts[number]
            self._of_before -= number < self._of_before

    def _oldest(self) -> _Part | None:
        """Of the finished parts but the last one, which a person may want to look at."""
        left = [part for part in self._parts if part.finished and not part.removed]
        return left[0] if len(left) > 1 or (left and self._writer is not None) else None

    def _over_budget(self) -> bool:
        plan = self._plan
        if plan.keep_bytes is not None:
            growing = super().safe_bytes
            if _bytes_of(self._parts) + growing > plan.keep_bytes:
                return True
        if plan.keep_free_bytes is None:
            return False
        return shutil.disk_usage(self._output.resolve().parent).free < plan.keep_free_bytes

    def _write_index(self) -> None:
        # Neither `indent` nor `asdict`: they leave objects of each part that Python keeps for long.
        parts = ",\n".join(
            json.dumps({key: getattr(part, key) for key in _FIELDS}) for part in self._parts
        )
        content = (
            f'{{"schema": {_INDEX_SCHEMA},\n"plan": {self._plan_json},\n"parts": [\n{parts}\n]}}\n'
        )
        with write_beside(index_of(self._output), force=True) as temporary:
            temporary.write_text(content, encoding="utf-8")
