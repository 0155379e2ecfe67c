"""The list of the parts of a recording, `drive.index.json` beside `drive-*.mcap`.

It is written anew, beside and then renamed, whenever something changes. A session that finds a list
goes on with it, as after a crash: parts that were being written then are as whole as `recover`
makes any recording.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidtok_edge.bounded import read_at_most
from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.session.parts import PartsPlan

if TYPE_CHECKING:
    from vidtok_edge.runtime.session.held_list import HeldList

__all__ = ["Part", "PartsIndex", "index_of", "parts_in", "parts_of_before"]

_SCHEMA = 1
_END = ".index.json"
_LARGEST = 64 << 20
_MOST_REMOVED = 1000  # that stay in the list
_LONGEST_NAME = 250  # bytes


@dataclass(slots=True, kw_only=True)
class Part:
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


class PartsIndex:
    """The parts of a recording, oldest first; those of this session behind those of before.

    Args:
        output: as the user named the recording.
        plan: what the list says of how it is cut.
        force: begin a new list.

    Raises:
        RecordingError: the list of before cannot be read.
        RecordingBusy: another session goes on with it.
    """

    def __init__(self, output: Path, plan: PartsPlan, *, force: bool = False) -> None:
        self.path = index_of(output)
        self._held = _held(self.path)
        self._plan_json = json.dumps(asdict(plan))
        try:
            self.parts = [] if force else parts_of_before(output)
        except BaseException:
            self.close()
            raise
        self._of_before = len(self.parts)

    @property
    def last(self) -> Part:
        """The one that was begun last."""
        return self.parts[-1]

    @property
    def kept_bytes(self) -> int:
        """Of the parts that are finished and there."""
        return _bytes_of(self.parts)

    @property
    def session_bytes(self) -> int:
        """Of those of this session among them."""
        return _bytes_of(self.parts[self._of_before :])

    @property
    def kept(self) -> int:
        """How many parts were not removed."""
        return sum(not part.removed for part in self.parts)

    def oldest(self, *, writing: bool) -> Part | None:
        """Of the finished parts but the last one, which a person may want to look at.

        Args:
            writing: there is a part that is being written, behind the finished ones.
        """
        left = [part for part in self.parts if part.finished and not part.removed]
        return left[0] if len(left) > 1 or (left and writing) else None

    def forget(self) -> None:
        """Take the oldest removed parts off a list that would grow for ever."""
        removed = [number for number, part in enumerate(self.parts) if part.removed]
        for number in reversed(removed[:-_MOST_REMOVED]):
            del self.parts[number]
            self._of_before -= number < self._of_before

    def write(self) -> None:
        """Write the list. Raises OutputNotWritable; RecordingBusy: another session made one."""
        # Neither `indent` nor `asdict`: they leave objects of each part that Python keeps for long.
        parts = ",\n".join(
            json.dumps({key: getattr(part, key) for key in _FIELDS}) for part in self.parts
        )
        content = f'{{"schema": {_SCHEMA},\n"plan": {self._plan_json},\n"parts": [\n{parts}\n]}}\n'
        self._held.write(content)

    def close(self) -> None:
        """Let another session go on with it."""
        self._held.close()


def _held(path: Path) -> HeldList:
    from vidtok_edge.runtime.session.held_list import HeldList  # needs file locks

    return HeldList(path)


def index_of(output: Path) -> Path:
    """Where the parts of a recording are listed."""
    return output.with_name(f"{output.stem}{_END}")


def parts_in(path: Path) -> list[Path]:
    """The parts that a list names and were not removed, in order; any other path is itself.

    Raises RecordingError: the list cannot be read, or a part that it names is not there.
    """
    if not path.name.endswith(_END):
        return [path]
    found = [path.with_name(part.file) for part in _listed(path) if not part.removed]
    for part in found:
        if not part.is_file():
            raise RecordingError(
                f"{part.name} is listed in {path} and is not there. Copy it beside the list, or "
                "name the parts themselves."
            )
    return [part for part in found if part.stat().st_size]  # else it was cut off as it began


def parts_of_before(output: Path) -> list[Part]:
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


def _listed(index: Path) -> list[Part]:
    """What a list says. Raises RecordingError: it is none."""
    try:
        found = json.loads(read_at_most(index, _LARGEST))
        if found["schema"] != _SCHEMA:
            raise ValueError(f"schema {found['schema']!r}, expected {_SCHEMA}")
        parts = [
            Part(**{key: _checked(key, part[key]) for key in _FIELDS}) for part in found["parts"]
        ]
    except PermissionError as error:
        raise RecordingError(
            f"{index} cannot be read: {error.strerror}. Check its permissions."
        ) from None
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


def _bytes_of(parts: Sequence[Part]) -> int:
    return sum(part.bytes for part in parts if part.finished and not part.removed)
