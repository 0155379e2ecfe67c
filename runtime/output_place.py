"""The place of an output: what is there, what lies beside it meanwhile, why none can be there."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidtok_edge.errors import OutputNotWritable

__all__ = [
    "NO_LINKS",
    "found_at",
    "hidden_beside",
    "mode_of",
    "output_errors",
    "real_place",
    "set_mode",
]

# Only writing fails with these, whatever file the error names.
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# Reading fails with these too: ours only when the error names our output, or nothing.
_PLACE_ERRORS = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
"""What file systems without hard links answer to one."""


def real_place(path: str | os.PathLike[str]) -> Path:
    """Where links lead to. Raises OutputNotWritable: the current folder was removed."""
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError as error:
        raise OutputNotWritable(
            f"{os.fspath(path)} cannot be written: the current folder was removed. Go to another."
        ) from error


def hidden_beside(place: Path, kind: str) -> Path:
    """A new name in the folder of `place`, hidden, that ends in `.kind`."""
    # 40 characters: with the rest, below the 255 bytes a name may have in any script.
    return place.with_name(f".{place.name[:40]}.{secrets.token_hex(4)}.{kind}")


def found_at(place: Path) -> os.stat_result | None:
    """What is there; one question, because other writers may come between two.

    Raises OutputNotWritable: it cannot be known.
    """
    try:
        return place.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputNotWritable(_sentence(error, place)) from error


def mode_of(place: Path) -> int | None:
    """Permissions of what is there, without the bits that run it as somebody else."""
    try:
        return place.stat().st_mode & 0o777
    except OSError:
        return None


def set_mode(path: Path, mode: int) -> None:
    """Give it permissions, where the disk has any."""
    if mode_of(path) != mode:
        with suppress(OSError):  # disks without permissions have none to keep
            path.chmod(mode)


@contextmanager
def output_errors(place: Path, temporary: Path) -> Iterator[None]:
    """Raise OutputNotWritable for an OSError of the block that is about the output.

    Args:
        place: of the output.
        temporary: where it lies meanwhile.
    """
    try:
        yield
    except OSError as error:
        if not _concerns_output(error, place, temporary):
            raise
        raise OutputNotWritable(_sentence(error, place)) from error


def _concerns_output(error: OSError, place: Path, temporary: Path) -> bool:
    if error.errno in _WRITE_ERRORS:
        return True
    if error.errno not in _PLACE_ERRORS:
        return False
    named = str(error.filename)
    return error.filename is None or named.startswith(str(temporary)) or named == str(place)


def _sentence(error: OSError, place: Path) -> str:
    folder = place.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f"the disk is full ({_free_space(folder)} in {folder})"
        then = "Free some space, or choose a folder on another disk"
    elif error.errno == errno.EFBIG:
        what = "the file would be larger than this disk or account allows"
        then = "Write less at once, or choose a folder on another disk"
    elif error.errno == errno.EROFS:
        what = f"{folder} is on a disk that can only be read"
        then = "Choose a folder on another disk"
    elif error.errno == errno.ENOENT:
        what = f"the folder {folder} does not exist"
        then = "Create it, or choose another"
    elif error.errno == errno.ENOTDIR:
        what = f"a part of {folder} is a file, not a folder"
        then = "Choose another folder"
    elif error.errno == errno.ENAMETOOLONG:
        what = "the name is too long for this disk"
        then = "Choose a shorter one"
    else:
        what = f"no permission to write in {folder}"
        then = "Change the folder's permissions, or choose another"
    return f"{place} cannot be written: {what}. {then}."


def _free_space(folder: Path) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "free space unknown"
    return f"{free / 1e6:.1f} MB free"
