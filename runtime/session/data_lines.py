"""Samples of data channels as lines of JSON, from a pipe, a file or a Unix socket.

    {"channel": "action", "values": [0.1, -0.2], "fields": ["shoulder", "elbow"]}
    {"channel": "task", "event": "pick up the cup", "wall_time_ns": 1700000000000000000}

`time_ns` (monotonic clock) or `wall_time_ns` say when; where neither is there, the line's arrival
does. `null` among the values is NaN.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vidtok_edge.errors import SourceError, StreamError
from vidtok_edge.runtime.session.data_log import DataLog
from vidtok_edge.runtime.session.lines import Lines
from vidtok_edge.runtime.session.unix_socket import UNIX, listening

__all__ = ["DataLines"]

_LONGEST_LINE = 1 << 20
_PIECE = 1 << 16
_LOOK_UP_S = 0.2
_PATIENCE_S = 5.0  # for a read that hangs, as of a disk that is far away
_MOST_SENDERS = 64
_ALLOWED = {"channel", "values", "event", "fields", "time_ns", "wall_time_ns"}
_MOST_KINDS = 100  # that are told
_MOST_TOLD = 300  # characters of a line, whose names may be as long as the line
_OF_ITS_OWN = re.compile(r"""b?['"\[].*['"\]]|[\d.+-]""", re.DOTALL)
"""What a refused line has of its own in what is said of it: its text, and numbers."""


class DataLines:
    """Reads lines in threads of its own until it is closed; a context manager.

    A line that is no sample is refused and counted, and the first of each kind is told.

    Args:
        spec: `-` for standard input, `unix:PATH` for a socket that is made there and takes many
            senders, else the path of a pipe or a file.
        log: takes the samples.
        notice: told in a line what was refused and who came and went.

    Raises:
        SourceError: there is no such pipe or file, or the socket cannot be made.
    """

    def __init__(self, spec: str, log: DataLog, notice: Callable[[str], None]) -> None:
        self._spec, self._log, self._notice = spec, log, notice
        self.from_file: set[str] = set()
        """Channels whose samples came from a regular file."""
        self._is_file = False
        self._stop = threading.Event()
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        if spec.startswith(UNIX):
            if spec == UNIX:
                raise SourceError(f"{spec!r} names no socket. Write unix:PATH; it is made there.")
            self._path = Path(spec.removeprefix(UNIX))
            self._socket = listening(self._path)
            work: Callable[[], None] = self._accept
        else:
            _require_readable(spec)
            work = self._read_path
        self._threads = [threading.Thread(target=work, name=f"data {spec}", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> DataLines:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def wait(self, seconds: float) -> None:
        """Until a file was read to its end, and no longer than so many seconds."""
        self._threads[0].join(seconds)

    def close(self) -> None:
        """Stop reading, and remove the socket."""
        self._stop.set()
        self._threads[0].join(_PATIENCE_S)  # of a socket: it adds to the others until then
        for thread in self._threads:
            thread.join(_PATIENCE_S)
        if any(thread.is_alive() for thread in self._threads):
            self._notice(
                f"warning: {self._spec} still hangs in reading {_PATIENCE_S:g} s after the session "
                "ended: what was not read is not in the recording"
            )
        if self._socket is not None:
            self._socket.close()
            with suppress(OSError):
                self._path.unlink()
            self._socket = None

    def _accept(self) -> None:
        assert self._socket is not None
        while not self._stop.is_set():
            if not select.select([self._socket], [], [], _LOOK_UP_S)[0]:
                continue
            sender, _ = self._socket.accept()
            self._threads = [t for t in self._threads if t.is_alive()]
            if len(self._threads) > _MOST_SENDERS:
                sender.close()
                self._tell(f"more than {_MOST_SENDERS} senders at once: one was sent away")
                continue
            thread = threading.Thread(target=self._read_sender, args=(sender,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _read_sender(self, sender: socket.socket) -> None:
        with sender:
            self._read(sender.fileno(), again=False)
        if not self._stop.is_set():
            self._notice(f"{self._spec}: a sender closed the connection")

    def _read_path(self) -> None:
        if self._spec == "-":
            self._read_file(sys.stdin.fileno(), "standard input", again=False)
            return
        file = os.open(self._spec, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self._read_file(file, self._spec, again=True)
        finally:
            os.close(file)

    def _read_file(self, file: int, name: str, *, again: bool) -> None:
        """As `_read`, and say what was left of a regular file; `again`: if it is a pipe."""
        found = os.fstat(file)
        self._is_file = stat.S_ISREG(found.st_mode)
        self._read(file, again=again and stat.S_ISFIFO(found.st_mode))
        left = found.st_size - os.lseek(file, 0, os.SEEK_CUR) if self._is_file else 0
        if left > 0:
            self._notice(
                f"warning: {name} was not read to its end: the session ended before the last "
                f"{left} of its {found.st_size} bytes, which are not in the recording"
            )

    def _read(self, file: int, *, again: bool) -> None:
        """Lines until the end; `again`: of a pipe, whose next writer may still come."""
        lines = Lines(_LONGEST_LINE)
        space = bytearray(_PIECE)  # once: `os.read` would make as much for each few bytes
        while not self._stop.is_set():
            if not select.select([file], [], [], _LOOK_UP_S)[0]:
                continue
            try:
                piece = bytes(memoryview(space)[: os.readv(file, [space])])
            except BlockingIOError:
                continue
            except OSError as error:
                self._notice(f"{self._spec}: reading failed: {error.strerror}")
                return
            for line in lines.of(piece):
                self._take(line)
            if not piece:
                if not again:
                    return
                self._stop.wait(_LOOK_UP_S)

    def _take(self, line: bytes | None) -> None:
        """A line; None: one that was longer than allowed."""
        try:
            self._take_sample(line)
        except Exception as error:  # those behind it are taken all the same
            self._refuse("?", f"a line cannot be taken, {error!r:.80}: {line!r:.80}")

    def _take_sample(self, line: bytes | None) -> None:
        if line is None:
            self._refuse("?", f"a line of more than {_LONGEST_LINE} bytes")
            return
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            self._refuse("?", f"a line is no JSON: {line[:80]!r}")
            return
        name = found.get("channel") if isinstance(found, dict) else None
        if not isinstance(name, str) or set(found) - _ALLOWED:
            self._refuse("?", f"a line is no sample: {line[:80]!r}")
            return
        times = {key: found.get(key) for key in ("time_ns", "wall_time_ns")}
        if any(
            not isinstance(t, int) or isinstance(t, bool) for t in times.values() if t is not None
        ):
            self._refuse(name, f"{name}: a time is no whole number: {line[:80]!r}")
            return
        if "event" in found and "values" in found:
            self._refuse(
                name, f"{name}: a line has an event and values, and a channel one: {line[:80]!r}"
            )
            return
        try:
            if "event" in found:
                self._log.event(name, found["event"], **times)
            else:
                values, fields = _numbers(found.get("values")), found.get("fields", [])
                if values is None or not _texts(fields):
                    self._refuse(
                        name, f"{name}: values are numbers, fields are texts: {line[:80]!r}"
                    )
                    return
                self._log.log(name, values, **times, fields=fields)
        except StreamError as error:  # counted by the log
            self._tell(str(error))
        else:
            if self._is_file:
                self.from_file.add(name)

    def _refuse(self, channel: str, said: str) -> None:
        self._log.refuse(channel)
        self._tell(f"{said}; such lines are left out, and counted")

    def _tell(self, said: str) -> None:
        """Once for each kind: what is said, without what it has of the line."""
        said = said if len(said) <= _MOST_TOLD else f"{said[:_MOST_TOLD]}..."
        kind = _OF_ITS_OWN.sub("", said)
        with self._lock:
            if kind in self._told or len(self._told) > _MOST_KINDS:
                return
            self._told.add(kind)
            last = len(self._told) > _MOST_KINDS
        self._notice(f"{self._spec}: {'more is left out and not told' if last else said}")


def _numbers(values: Any) -> list[float] | None:
    """A number or a flat list of them; null is NaN. None: something else."""
    found = values if isinstance(values, list) else [values]
    good = all(
        v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in found
    )
    if not good or values is None:
        return None
    return [float("nan") if v is None else v for v in found]


def _texts(fields: Any) -> bool:
    return isinstance(fields, list) and all(isinstance(field, str) for field in fields)


def _require_readable(spec: str) -> None:
    if spec == "-":
        return
    try:
        mode = os.stat(spec).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
            raise SourceError(
                f"{spec} is no pipe and no file. Name one (mkfifo), - or unix:PATH for a socket."
            )
        if not os.access(spec, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise SourceError(
            f"Data cannot be read from {spec}: {error.strerror}. Name a pipe (mkfifo), a file, - "
            "or unix:PATH for a socket."
        ) from None
