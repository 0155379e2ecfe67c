"""Where a view goes: a window here, a viewer elsewhere, or a file."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from vidtok_edge.errors import MissingDependency, UsageError
from vidtok_edge.runtime.files import require_writable

__all__ = ["ViewTarget"]

PORT = 9876  # Rerun's own
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class ViewTarget:
    """Where a view goes."""

    kind: Literal["window", "viewer", "file"]
    place: str
    """viewer: its URL; file: its path."""

    @classmethod
    def parse(cls, text: str) -> ViewTarget:
        """Read what a user writes. Raises UsageError.

        >>> ViewTarget.parse("10.0.0.2")
        ViewTarget(kind='viewer', place='rerun+http://10.0.0.2:9876/proxy')
        >>> ViewTarget.parse("drive.rrd")
        ViewTarget(kind='file', place='drive.rrd')
        """
        if text == "window":
            return cls("window", "")
        if text.endswith(".rrd"):
            return cls("file", text)
        url = text if "://" in text else f"rerun+http://{text}"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or PORT
        except ValueError:
            host = None
        if not host or parts.scheme not in ("rerun", "rerun+http", "rerun+https"):
            raise UsageError(
                f"A view cannot go to {text!r}. Allowed: window, HOST or HOST:PORT of a running "
                "viewer, or FILE.rrd."
            )
        shown = f"[{host}]" if ":" in host else host
        return cls("viewer", f"{parts.scheme}://{shown}:{port}{parts.path or '/proxy'}")

    def check(self, force: bool = False) -> None:
        """Raise now what would keep anything from being shown.

        Raises:
            MissingDependency: the extra `view`.
            UsageError: no screen, no viewer that answers.
            OutputExists, OutputNotWritable: of the file.
        """
        if find_spec("rerun") is None:
            raise MissingDependency("rerun-sdk", "view", "Viewing")
        if self.kind == "file":
            require_writable(Path(self.place), force)
        elif self.kind == "viewer":
            self._call()
        elif sys.platform == "linux" and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise UsageError(
                "There is no screen here to open a window on. On a machine that has one run "
                "`rerun`, and view to its address; or view to a file.rrd."
            )

    def _call(self) -> None:
        parts = urlsplit(self.place)
        assert parts.hostname is not None and parts.port is not None
        try:
            socket.create_connection((parts.hostname, parts.port), _PATIENCE_S).close()
        except OSError as error:
            raise UsageError(
                f"No viewer answers at {parts.hostname}:{parts.port} ({error}). Start `rerun` "
                "there, and let its port through the firewall."
            ) from error
