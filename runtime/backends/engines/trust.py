"""Whose engines are run: those that were built here, and others where the user says so.

An engine is a program for the GPU, and TensorRT takes it as it is: a file that was made to do harm
can do it. What this user built on this machine is known by its hash.
"""

from __future__ import annotations

import os
from pathlib import Path

from vidtok_edge.errors import EngineUntrusted
from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.runtime.remembered import Remembered

__all__ = ["TRUST", "remember_engine", "require_trusted"]

TRUST = "VIDTOK_EDGE_TRUST_ENGINES"
"""The environment variable that lets engines run which were built elsewhere: 1."""

_BUILT_HERE = Remembered("XDG_STATE_HOME", ".local/state", "engines.json")


def remember_engine(path: Path, sha256: str) -> None:
    """The engine at `path` was built here."""
    _BUILT_HERE.add(sha256, path.name)


def require_trusted(path: Path, content: bytes, again: str) -> None:
    """Raise EngineUntrusted unless the engine was built here, or the user trusts others.

    Args:
        path: of the engine.
        content: what would be run.
        again: the command that builds it here.
    """
    if os.environ.get(TRUST) == "1" or sha256_of_parts([content]) in _BUILT_HERE.read():
        return
    raise EngineUntrusted(
        f"{path} was not built by this user on this machine, and an engine is a program: it is not "
        f"run unasked. Set {TRUST}=1 if you trust who built it, or build it here with: {again}"
    )
