"""Official checkpoints from the model hub."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.errors import (
    CheckpointError,
    HubUnreachable,
    MissingDependency,
    OutputNotWritable,
    UsageError,
)
from vidtok_edge.hashes import sha256_of
from vidtok_edge.variants import EMBEDDED, Variant

__all__ = ["REPOSITORY", "HubFile", "download"]

REPOSITORY = "microsoft/VidTok"
"""Where the official weights are published, MIT-licensed."""

CANNOT_WRITE = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the hub, as it lies in the cache of this machine."""

    path: Path
    revision: str
    """The commit it is of."""

    def __str__(self) -> str:
        return f"{self.path.name} of {REPOSITORY} at {self.revision[:12]}"


def download(variant: Variant) -> HubFile:
    """The official checkpoint of `variant` in the hub's cache, fetched with a progress bar.

    The newest commit is asked for once, everything is read of that commit, and the file is held to
    the SHA-256 that the hub states. With HF_HUB_OFFLINE=1, or when the hub does not answer, a file
    fetched before is used.

    Raises:
        CheckpointError: what was downloaded is not what the hub states.
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
    except CheckpointError:
        raise
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


def _fetched(name: str) -> HubFile:
    """Found by file name: versions 1.0 and 1.1 lie in different folders of the repository."""
    from huggingface_hub import hf_hub_download, model_info

    info = model_info(REPOSITORY, files_metadata=True)
    files = [file for file in info.siblings or () if file.rfilename.rpartition("/")[2] == name]
    if len(files) != 1:
        raise LookupError(f"the repository has {len(files)} files called {name}, expected one")
    stated = files[0].lfs
    if info.sha is None or stated is None:
        raise LookupError(f"the repository states no commit or no SHA-256 of {name}")
    path = Path(hf_hub_download(REPOSITORY, files[0].rfilename, revision=info.sha))
    if (found := sha256_of(path)) != stated.sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {found[:12]}…, the hub states {stated.sha256[:12]}… for it: it is "
            "damaged, or not what was published. Remove it, and download it again."
        )
    return HubFile(path, info.sha)


def _cached(name: str) -> HubFile | None:
    """The newest copy of `name` in the hub's cache; asks no network."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots"
    copies = [path for path in folder.rglob(name) if path.is_file()]
    newest = max(copies, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else HubFile(newest, newest.relative_to(folder).parts[0])


def _advice(name: str, error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return (
        f"{name} could not be fetched from {REPOSITORY}: {type(error).__name__}: "
        f"{lines[0].rstrip('.')}. Try again with a network and without HF_HUB_OFFLINE, or download "
        f"{name} by hand from https://huggingface.co/{REPOSITORY} and pass --checkpoint PATH."
    )
