"""The files of a bag, read as one: a file, a folder that rosbag2 wrote, or files that are named."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path

from vidtok_edge.bounded import read_at_most
from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.files import require_each_once
from vidtok_edge.runtime.joining.bags import Bag, BagSample, Take

__all__ = ["BagFiles", "bag_files"]

_METADATA = "metadata.yaml"
_LARGEST = 16 << 20  # of that
_PART = re.compile(r"(.*_)(\d{1,9})\.mcap", re.DOTALL)
_TOGETHER_NS = 1_000_000_000  # more is no writer that begins its next file


@dataclass(slots=True)
class BagFiles:
    """The files of a bag, open for reading, by the times of their messages; a context manager."""

    name: str
    """As messages call them."""
    bags: Sequence[Bag]
    _open: ExitStack

    @classmethod
    def open(cls, paths: Sequence[str | os.PathLike[str]]) -> BagFiles:
        """Read through files for their topics and chunks.

        Raises RecordingError: one cannot be read or is no MCAP file, or none holds a message.
        """
        with ExitStack() as stack:
            bags = [stack.enter_context(Bag.open(path)) for path in paths]
            bags.sort(key=lambda bag: (not bag.chunks, bag.start_ns))
            more = f" and {len(bags) - 1} more" if bags[1:] else ""
            name = f"{bags[0].scan.path}{more}"
            if not any(bag.chunks and bag.topics for bag in bags):
                raise RecordingError(f"{name} holds no message that can be read.")
            found = cls(name, bags, stack.pop_all())
        return found

    def __enter__(self) -> BagFiles:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    @property
    def damaged_bytes(self) -> int:
        """Of all files, as far as they were read."""
        return sum(bag.damaged_bytes for bag in self.bags)

    @property
    def unreadable(self) -> int:
        """Messages that could not be decoded, or lack the field."""
        return sum(bag.unreadable for bag in self.bags)

    def outline(self) -> list[tuple[str, str, str]]:
        """Each topic, its type, and the fields of its first message that hold numbers or a text."""
        rows: dict[tuple[str, str], str] = {}
        for topic, kind, fields in (row for bag in self.bags for row in bag.outline()):
            if rows.get((topic, kind), "no message") == "no message":
                rows[topic, kind] = fields
        return sorted((*key, fields) for key, fields in rows.items())

    def samples(self, takes: Sequence[Take]) -> Iterator[BagSample]:
        """What is taken out of each message: of a file in its order, of several by their times.

        Raises RecordingError: no topic fits a `take`, or one that does is of another encoding, or
        is in two files of the same time. StreamError: two would be one data channel of a topic.
        """
        names = sorted({name for bag in self.bags for name in bag.names()})
        for take in takes:
            fitting = [name for name in names if take.fits(name)]
            for name in fitting:
                self._require_one_behind_another(name)
            if not fitting:
                have = ", ".join(names[:20])
                raise RecordingError(
                    f"{self.name} has no topic that fits {take.topic!r}; it has {have}."
                )
        waiting = deque(enumerate(self.bags))
        due: list[tuple[int, int, BagSample, Iterator[BagSample]]] = []
        while waiting or due:
            if waiting and (not due or waiting[0][1].start_ns <= due[0][0]):
                number, bag = waiting.popleft()
                rest = bag.samples(takes)
            else:
                _, number, sample, rest = heappop(due)
                yield sample
            if (following := next(rest, None)) is not None:
                heappush(due, (following.time_ns, number, following, rest))

    def _require_one_behind_another(self, topic: str) -> None:
        """The samples of two robots must not become one channel."""
        own = [bag for bag in self.bags if topic in bag.names() and bag.chunks]
        for one, then in pairwise(own):
            if one.end_ns - then.start_ns > _TOGETHER_NS:
                raise RecordingError(
                    f"{one.scan.path} and {then.scan.path} have messages of the same time, and "
                    f"both have {topic}: they are no files of one bag. Join them one after the "
                    "other, under two names."
                )


def bag_files(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files of a bag: of a folder those that it lists, or all in the order of their numbers.

    Raises RecordingError: one is missing, or the folder holds no bag in MCAP. UsageError: no path,
    or a file twice.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise UsageError("Got no bag. Name its file, its folder, or its files.")
    files = [file for path in map(Path, given) for file in _files_of(path)]
    require_each_once(files)
    return files


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        there = sorted(file.name for file in path.iterdir())
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}.") from None
    names = _listed(path / _METADATA) if _METADATA in there else _numbered(path, there)
    for name in names:
        if not name.endswith(".mcap"):
            raise RecordingError(f"{path / name} is no MCAP file. {_CONVERT}")
        if name not in there:
            raise RecordingError(
                f"{path / name} is listed in {_METADATA} beside it, and is not there. Copy it into "
                "the folder, or name the files themselves."
            )
    files = [path / name for name in names]
    return [file for file in files if file.stat().st_size] or files  # else cut off as it began


_CONVERT = "Make one of the bag with `ros2 bag convert`, storage mcap, without file compression."


def _listed(path: Path) -> list[str]:
    """The files that rosbag2 lists, a line each: no YAML of others is parsed for that."""
    try:
        text = read_at_most(path, _LARGEST).decode()
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path} cannot be read: {error}.") from None
    lists = re.search(r"(?m)^[ \t]*relative_file_paths:[ \t]*\r?\n((?:[ \t]*- .*(?:\n|\Z))+)", text)
    names = [line.strip()[2:].strip(" \"'") for line in lists[1].splitlines()] if lists else []
    if not names or any(Path(name).name != name for name in names):
        raise RecordingError(
            f"{path} lists no files of this folder (relative_file_paths). Name the files of the "
            "bag themselves."
        )
    return names


def _numbered(path: Path, there: Sequence[str]) -> list[str]:
    """What is left where rosbag2 was cut off before it wrote the list."""
    names = [name for name in there if name.endswith(".mcap")]
    if not names:
        raise RecordingError(f"{path} holds no bag in MCAP (.mcap). {_CONVERT}")
    if len(names) == 1:
        return names
    numbers = {int(found[2]): found for found in map(_PART.fullmatch, names) if found}
    if len(numbers) < len(names) or len({found[1] for found in numbers.values()}) > 1:
        raise RecordingError(
            f"{path} has no {_METADATA}, and {', '.join(names):.200} are not numbered as files of "
            "one bag are. Name the files of the bag themselves."
        )
    for one, then in pairwise(sorted(numbers)):
        if then != one + 1:
            raise RecordingError(
                f"{path} has {numbers[one][0]} and {numbers[then][0]}, and none between. Copy what "
                "is missing into the folder, or name the files themselves."
            )
    return [numbers[number][0] for number in sorted(numbers)]
