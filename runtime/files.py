"""Outputs that are whole or absent: written beside their place, moved in when complete."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidtok_edge.errors import OutputExists, OutputNotWritable, UsageError

__all__ = ["require_writable", "write_beside", "write_folder_beside"]

# Only writing fails with these, whatever file the error names.
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# Reading fails with these too: ours only when the error names our output, or nothing.
_PLACE_ERRORS = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


@contextmanager
def write_beside(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Yield an empty temporary file (hidden, `.part`) in the folder of `path`; it becomes `path`.

    It is renamed when the block ends and removed when the block raises anything, so `path` never
    holds half an output. A link is followed: the file it points to is replaced. The temporary name
    has no suffix that a library could guess a format from: name the format to it.

    Raises OutputExists before the block runs when `path` is there and `force` is not set,
    UsageError when `path` is not a regular file, and OutputNotWritable for permissions,
    missing folders and full disks.
    """
    place = _real(path)
    _refuse_existing_file(place, force)
    temporary = _hidden_beside(place, "part")
    with _output_errors(place, temporary):
        try:
            temporary.open("xb").close()
            yield temporary
            _refuse_existing_file(place, force)  # it may have appeared meanwhile
            os.replace(temporary, place)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def require_writable(path: str | os.PathLike[str], force: bool = False) -> None:
    """Raise now what `write_beside` would raise after hours of work; nothing stays on the disk."""
    place = _real(path)
    _refuse_existing_file(place, force)
    temporary = _hidden_beside(place, "part")
    with _output_errors(place, temporary):
        temporary.open("xb").close()
        temporary.unlink()


@contextmanager
def write_folder_beside(
    path: str | os.PathLike[str], force: bool = False, *, marker: str = "manifest.json"
) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it becomes `path` when the block ends.

    With `force` an old folder is moved aside first, put back if the new one cannot be moved in,
    and deleted last. Only a folder that is empty or holds a file named `marker` is replaced,
    so that `force` with a mistyped path does not delete something else.

    Raises as `write_beside` does; UsageError also when the old folder lacks `marker`.
    """
    place = _real(path)
    _refuse_existing_folder(place, force, marker)
    temporary = _hidden_beside(place, "part")
    with _output_errors(place, temporary):
        try:
            temporary.mkdir()
            yield temporary
            _refuse_existing_folder(place, force, marker)
            _swap_in(temporary, place)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _swap_in(new: Path, place: Path) -> None:
    if not place.exists():
        os.rename(new, place)
        return
    old = _hidden_beside(place, "old")
    os.rename(place, old)
    try:
        os.rename(new, place)
    except BaseException:
        os.rename(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _real(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.realpath(path))


def _hidden_beside(place: Path, kind: str) -> Path:
    # 40 characters: with the rest, below the 255 bytes a name may have in any script.
    return place.with_name(f".{place.name[:40]}.{secrets.token_hex(4)}.{kind}")


def _refuse_existing_file(place: Path, force: bool) -> None:
    if not _exists(place):
        return
    if place.is_dir():
        raise UsageError(f"{place} is a folder. Name a file, for example one inside it.")
    if not place.is_file():  # a rename over /dev/null would replace the device for everyone
        raise UsageError(f"{place} is a device or pipe; only a regular file can be written.")
    if not force:
        raise OutputExists(place)


def _refuse_existing_folder(place: Path, force: bool, marker: str) -> None:
    if not _exists(place):
        return
    if not place.is_dir():
        raise UsageError(f"{place} is a file; a folder is written here. Name another place.")
    if not force:
        raise OutputExists(place)
    with _output_errors(place, place):
        replaceable = (place / marker).is_file() or not any(place.iterdir())
    if not replaceable:
        raise UsageError(
            f"{place} is not replaced: it holds files but no {marker}, so this toolkit did not "
            "write it. Name another folder, or delete that one yourself."
        )


def _exists(place: Path) -> bool:
    try:
        place.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputNotWritable(_sentence(error, place)) from error
    return True


@contextmanager
def _output_errors(place: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not _concerns_output(error, temporary):
            raise
        raise OutputNotWritable(_sentence(error, place)) from error


def _concerns_output(error: OSError, temporary: Path) -> bool:
    if error.errno in _WRITE_ERRORS:
        return True
    if error.errno not in _PLACE_ERRORS:
        return False
    return error.filename is None or str(error.filename).startswith(str(temporary))


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
