"""Lines on a Unix socket that ask a running session; each is answered in a line of JSON.

trigger [why]    keep what lies around this moment
pause            leave out what comes
resume           go on
status           say how it stands
"""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.session.control import WORDS, Control, Word
from vidtok_edge.runtime.session.lines import Lines
from vidtok_edge.runtime.session.unix_socket import UNIX, listening

__all__ = ["ControlSocket", "require_control"]

_LONGEST_LINE = 1024
_PIECE = 4096
_LOOK_UP_S = 0.2
_MOST_CALLERS = 16
_PATIENCE_S = 5.0  # with a caller that does not read


def require_control(spec: str) -> None:
    """Raise UsageError where `spec` names no control socket."""
    if not spec.startswith(UNIX) or not spec.removeprefix(UNIX):
        raise UsageError(f"{spec!r} is no control socket. Write unix:PATH; it is made there.")


class ControlSocket:
    """Answers in threads of its own until it is closed; a context manager.

    Args:
        spec: `unix:PATH`. The user alone may connect.
        control: of the session.
        notice: told in a line what callers did that is not allowed, once for each kind.

    Raises:
        UsageError: it is no path of a socket.
        SourceError: the socket cannot be made, or somebody listens there.
    """

    def __init__(self, spec: str, control: Control, notice: Callable[[str], None]) -> None:
        require_control(spec)
        self._spec, self._control, self._notice = spec, control, notice
        self._path = Path(spec.removeprefix(UNIX))
        self._socket = listening(self._path)
        self._stop = threading.Event()
        self._full = False
        self._callers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, name=f"control {spec}", daemon=True)
        self._thread.start()

    def __enter__(self) -> ControlSocket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up, and remove the socket."""
        self._stop.set()
        for thread in (self._thread, *self._callers):
            thread.join(_PATIENCE_S)
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()

    def _accept(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._socket], [], [], _LOOK_UP_S)[0]:
                continue
            with suppress(OSError):  # it hung up already
                self._begin(self._socket.accept()[0])

    def _begin(self, caller: socket.socket) -> None:
        self._callers = [thread for thread in self._callers if thread.is_alive()]
        if len(self._callers) >= _MOST_CALLERS:
            caller.close()
            if not self._full:
                self._notice(f"{self._spec}: more than {_MOST_CALLERS} callers; one was sent away")
            self._full = True
            return
        thread = threading.Thread(target=self._serve, args=(caller,), daemon=True)
        self._callers.append(thread)
        thread.start()

    def _serve(self, caller: socket.socket) -> None:
        lines = Lines(_LONGEST_LINE)
        with caller, suppress(OSError):  # a caller may go at any moment
            caller.settimeout(_PATIENCE_S)
            while not self._stop.is_set():
                if not select.select([caller], [], [], _LOOK_UP_S)[0]:
                    continue
                piece = caller.recv(_PIECE)
                for line in lines.of(piece):
                    caller.sendall(json.dumps(self._answer(line)).encode() + b"\n")
                if not piece:
                    return

    def _answer(self, line: bytes | None) -> dict[str, Any]:
        """To a line; None: one that was longer than allowed."""
        if line is None:
            return {"ok": False, "error": f"A line has {_LONGEST_LINE} bytes at most."}
        word, _, why = line.decode("utf-8", "replace").partition(" ")
        if word not in WORDS or word == "toggle" or (why and word != "trigger"):
            allowed = ", ".join(one for one in WORDS if one != "toggle")
            said = line[:40].decode("utf-8", "replace")
            return {"ok": False, "error": f"{said!r} is none of {allowed}."}
        return self._control.ask(cast(Word, word), why.strip() or "asked for").wait(_PATIENCE_S)
