"""Official checkpoints from the model hub."""

from __future__ import annotations

import errno
from pathlib import Path

from vidtok_edge.errors import (
    HubUnreachable,
    MissingDependency,
    OutputNotWritable,
    UsageError,
)
from vidtok_edge.variants import EMBEDDED, Variant

__all__ = ["REPOSITORY", "download"]

REPOSITORY = "microsoft/VidTok"
"""Where the official weights are published, MIT-licensed."""

CANNOT_WRITE = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT)


def download(variant: Variant) -> Path:
    """The official checkpoint of `variant` in the hub's cache, fetched with a progress bar.

    With HF_HUB_OFFLINE=1, or when the hub does not answer, a file fetched before is used.

    Raises:
        UsageError: the embedded variant, which is not on the hub.
        MissingDependency: huggingface_hub is not installed.
        HubUnreachable: offline and never fetched, refused by the hub, or no such file there.
        OutputNotWritable: the cache cannot be written, or the disk is full.
    """
    if variant.name == EMBEDDED.name:
        raise UsageError(
            f"{variant.name} ships with the package and is not on the hub. Leave --checkpoint out."
        )
    name = f"{variant.name}.ckpt"
    try:
        from huggingface_hub import constants  # an extra; here, as the rest works without it
    except ImportError as error:
        raise MissingDependency("huggingface_hub", "hub", "Downloading official weights") from error
    try:
        return _fetched(name)
    except Exception as error:  # each version's HTTP library brings its own error classes
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            raise OutputNotWritable(
                f"{name} cannot be stored in {constants.HF_HUB_CACHE}: {error.strerror}. "
                "Free some space, or set HF_HOME to a folder that has it."
            ) from error
        cached = _cached(name)
        if cached is not None:
            return cached
        raise HubUnreachable(_advice(name, error)) from error


def _fetched(name: str) -> Path:
    """Found by file name: versions 1.0 and 1.1 lie in different folders of the repository."""
    from huggingface_hub import hf_hub_download, list_repo_files

    places = [path for path in list_repo_files(REPOSITORY) if path.rpartition("/")[2] == name]
    if len(places) != 1:
        raise LookupError(f"the repository has {len(places)} files called {name}, expected one")
    return Path(hf_hub_download(REPOSITORY, places[0]))


def _cached(name: str) -> Path | None:
    """The newest copy of `name` in the hub's cache; asks no network."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots"
    copies = [path for path in folder.rglob(name) if path.is_file()]
    return max(copies, key=lambda path: path.stat().st_mtime, default=None)


def _advice(name: str, error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return (
        f"{name} could not be fetched from {REPOSITORY}: {type(error).__name__}: "
        f"{lines[0].rstrip('.')}. Try again with a network and without HF_HUB_OFFLINE, or download "
        f"{name} by hand from https://huggingface.co/{REPOSITORY} and pass --checkpoint PATH."
    )
