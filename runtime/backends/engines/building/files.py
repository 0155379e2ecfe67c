"""What a build writes into a bundle: engines with their sidecars, and timing caches."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from vidtok_edge.bounded import TooLarge, read_at_most
from vidtok_edge.errors import OutputNotWritable
from vidtok_edge.runtime.backends.engines.sidecar import ENGINES, EngineHost, EngineSidecar
from vidtok_edge.runtime.backends.engines.trust import remember_engine
from vidtok_edge.runtime.files import write_beside

__all__ = [
    "drop_engine",
    "prepare_folder",
    "read_timing",
    "write_engine",
    "write_timing",
]

_LARGEST_TIMING = 1 << 26  # bytes
_ABANDONED = 3600.0
"""Seconds after which a temporary file belongs to a build that was killed: writing takes a few."""


def prepare_folder(bundle: Path) -> None:
    """Make the folder of the engines, and remove what killed builds left there.

    Raises OutputNotWritable, before the minutes that a build takes.
    """
    folder = bundle / ENGINES
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(
            f"{folder} cannot be made: {error.strerror}. Change the permissions of the bundle, or "
            "copy it to where you may write."
        ) from error
    if not os.access(folder, os.W_OK):
        raise OutputNotWritable(
            f"{folder} cannot be written to. Change its permissions, or copy the bundle to where "
            "you may write."
        )
    for left in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()


def write_engine(path: Path, engine: memoryview, sidecar: EngineSidecar) -> None:
    """Write both beside their places, then rename: the engine first.

    Killed between the two, an engine has no sidecar, or that of another, whose SHA-256 differs; it
    counts as stale either way.
    """
    with (
        write_beside(path.with_suffix(".json"), force=True) as facts,
        write_beside(path, force=True) as blob,
    ):
        blob.write_bytes(engine)
        facts.write_text(sidecar.to_json(), encoding="utf-8")
    remember_engine(path, sidecar.engine_sha256)


def drop_engine(path: Path) -> None:
    """Remove an engine and its sidecar."""
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def read_timing(bundle: Path, host: EngineHost) -> bytes:
    """The timing cache of earlier builds for `host`; empty where there is none."""
    try:
        return read_at_most(_timing_file(bundle, host), _LARGEST_TIMING)
    except (OSError, TooLarge):
        return b""


def write_timing(bundle: Path, host: EngineHost, cache: memoryview) -> None:
    """Keep the kernel timings, so that the next build for `host` is quicker."""
    with write_beside(_timing_file(bundle, host), force=True) as file:
        file.write_bytes(cache)


def _timing_file(bundle: Path, host: EngineHost) -> Path:
    return bundle / ENGINES / f"{host.target}.{host.version}.{host.gpu}.timing"
