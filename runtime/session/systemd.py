"""A unit of systemd that records from boot on, and what a session tells systemd."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["WATCHDOG_S", "Notifier", "unit_of"]

WATCHDOG_S = 60
"""A session whose loop stands still for so long is started anew."""
_EVERY_NS = WATCHDOG_S * 1_000_000_000 // 4
_UNIT = """\
# sudo cp THIS /etc/systemd/system/vidtok-edge-record.service
# sudo systemctl daemon-reload && sudo systemctl enable --now vidtok-edge-record
[Unit]
Description=Record cameras as tokens (vidtok-edge)
Documentation=man:systemd.service(5)
Wants=time-sync.target
After=time-sync.target network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={user}
WorkingDirectory={folder}
ExecStart={command}
Restart=on-failure
RestartSec=2
WatchdogSec={watchdog}
# SIGTERM ends a recording cleanly; the last frames are encoded first.
KillSignal=SIGTERM
TimeoutStopSec=30
OOMPolicy=stop
LimitNOFILE=4096
NoNewPrivileges=true

[Install]
WantedBy=multi-user.target
"""


def unit_of(arguments: Sequence[str], *, user: str, folder: str) -> str:
    """The unit whose service runs `vidtok-edge record` with `arguments`, without `--systemd`."""
    command = [sys.executable, "-m", "vidtok_edge.cli", "record", *arguments]
    return _UNIT.format(
        user=user,
        folder=folder.replace("%", "%%"),
        command=" ".join(map(_quoted, command)),
        watchdog=WATCHDOG_S,
    )


def _quoted(word: str) -> str:
    """A word of a command line, as systemd reads it: % and $ mean something there."""
    plain = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    if plain == word and shlex.quote(word) == word:
        return word
    return '"' + plain.replace('"', '\\"') + '"'


class Notifier:
    """Tells systemd, where it started this process, that a session is ready, alive, or ending.

    Does nothing where it did not (sd_notify(3): `NOTIFY_SOCKET`), or where it does not listen.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._alive_ns: int | None = None

    def alive(self, now_ns: int) -> None:
        """The loop went round; the first time it is ready. Cheap: told a few times a minute."""
        if self._alive_ns is None:
            self._send("READY=1")
        elif now_ns - self._alive_ns < _EVERY_NS:
            return
        self._alive_ns = now_ns
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The recording is being finished."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # an abstract one
            address = "\0" + address[1:]
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.setblocking(False)
            told.sendto(text.encode(), address)
