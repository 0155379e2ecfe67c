"""A Unix socket that is made for others of the same user."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from vidtok_edge.errors import SourceError

__all__ = ["UNIX", "listening"]

UNIX = "unix:"
"""What the path of one begins with."""


def listening(path: Path) -> socket.socket:
    """A socket at `path`, which the user alone may use; one that nobody listens at is replaced.

    Raises SourceError: somebody listens there, it is something else, or it cannot be made.
    """
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.lexists(path):
            if not path.is_socket() or _is_listened_at(path):
                why = "somebody listens there" if path.is_socket() else "it is no socket"
                raise SourceError(f"{path} is there already, and {why}. Name another path.")
            path.unlink()
        found.bind(str(path))
        os.chmod(path, 0o600)  # before `listen`: until then nobody can connect
        found.listen()
    except OSError as error:
        found.close()
        why = error.strerror or str(error)
        raise SourceError(f"No socket can be made at {path}: {why}. Name another path.") from None
    except SourceError:
        found.close()
        raise
    return found


def _is_listened_at(path: Path) -> bool:
    """Whether a process has it open, as far as can be told: else it refuses a connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(1.0)  # of one whose queue is full
        try:
            asked.connect(str(path))
        except OSError as error:
            return error.errno != errno.ECONNREFUSED
    return True
