"""Outputs that are whole or absent: written beside their place, moved in when complete."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidtok_edge.errors import OutputExists, OutputNotWritable, UsageError
from vidtok_edge.runtime.held_signals import held_signals

__all__ = [
    "add_to_folder_beside",
    "replace_file",
    "require_writable",
    "write_beside",
    "write_folder_beside",
]

# Only writing fails with these, whatever file the error names.
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# Reading fails with these too: ours only when the error names our output, or nothing.
_PLACE_ERRORS = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}

# What file systems without hard links answer to one.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
# What a rename of a folder answers where something else is.
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


@contextmanager
def write_beside(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Yield an empty temporary file (hidden, `.part`) in the folder of `path`; it becomes `path`.

    It is moved in when the block ends and removed when the block raises anything, so `path` never
    holds half an output. Of several writers without `force` one succeeds. A link is followed: the
    file it points to is replaced, and its permissions are kept; a new file has those of the umask.
    The temporary name has no suffix that a library could guess a format from: name the format to
    it.

    Raises OutputExists before the block runs when `path` is there and `force` is not set, and after
    it when another writer was quicker; UsageError when `path` is not a regular file, and
    OutputNotWritable for permissions, missing folders and full disks.
    """
    place = _real(path)
    _refuse_existing_file(place, force)
    temporary = _hidden_beside(place, "part")
    with _output_errors(place, temporary):
        try:
            mode = _create(temporary, _mode_of(place))
            yield temporary
            kept = _mode_of(place)
            _set_mode(temporary, mode if kept is None else kept)
            _move_file_in(temporary, place, force)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def require_writable(path: str | os.PathLike[str], force: bool = False) -> None:
    """Raise now what `write_beside` would raise after hours of work; nothing stays on the disk."""
    place = _real(path)
    _refuse_existing_file(place, force)
    temporary = _hidden_beside(place, "part")
    with _output_errors(place, temporary), held_signals():
        _create(temporary, None)
        temporary.unlink()


def replace_file(new: Path, place: Path) -> None:
    """Move a file over another, whose permissions it takes. Raises OSError as `os.replace`."""
    if (mode := _mode_of(place)) is not None:
        _set_mode(new, mode)
    os.replace(new, place)


@contextmanager
def write_folder_beside(
    path: str | os.PathLike[str], force: bool = False, *, marker: str = "manifest.json"
) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it becomes `path` when the block ends.

    With `force` an old folder is moved aside first, put back if the new one cannot be moved in,
    and deleted last. Only a folder that is empty or holds a file named `marker` is replaced,
    so that `force` with a mistyped path does not delete something else. Of several writers without
    `force` one succeeds; with it the last one does, and nothing of the others is left.

    Files have the permissions of those of their names that they replace, new ones those of the
    umask, whatever a library gave them.

    Raises as `write_beside` does; UsageError also when the old folder lacks `marker`.
    """
    place = _real(path)
    _refuse_existing_folder(place, force, marker)
    temporary = _hidden_beside(place, "part")
    with _output_errors(place, temporary):
        try:
            temporary.mkdir()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            _set_modes(temporary, place, mode & 0o666)
            _move_folder_in(temporary, place, force, marker)
        except BaseException:
            with held_signals():
                _remove(temporary)
            raise


@contextmanager
def add_to_folder_beside(
    path: str | os.PathLike[str], *, marker: str, without: Container[str] = ()
) -> Iterator[Path]:
    """Yield a folder beside `path` that holds all that is in it; it becomes `path` when the block
    ends.

    Until then, and where the block raises, `path` is as it was. Files are the same on disk, not
    copies, where the disk has hard links: put new ones beside them, and change none of them.

    Args:
        marker: a file that the folder has.
        without: files, as paths in the folder, that the new one is not to begin with.

    Raises UsageError: there is no such folder, or somebody else changed it meanwhile; and as
    `write_folder_beside` does.
    """
    place = _real(path)
    if not (place / marker).is_file():
        raise UsageError(
            f"{place} has no {marker}, so there is nothing to add to. Name a folder that was "
            "written before, or make a new one."
        )
    before = _state_of(place, marker)
    temporary = _hidden_beside(place, "part")
    with _output_errors(place, temporary):
        try:
            temporary.mkdir()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            _link_all(place, temporary, without)
            yield temporary
            _set_modes(temporary, place, mode & 0o666)
            if _state_of(place, marker) != before:
                raise UsageError(f"{place} was changed meanwhile, and is left so. Add again.")
            with held_signals():
                if _exchanged(temporary, place):
                    _remove(temporary)
                elif not _swap_in(temporary, place):
                    raise UsageError(f"{place} was replaced meanwhile, and is left so. Add again.")
        except BaseException:
            with held_signals():
                _remove(temporary)
            raise


def _state_of(place: Path, marker: str) -> tuple[int, ...]:
    """Differs where another writer put something else there."""
    try:
        folder, file = place.stat(), (place / marker).stat()
    except FileNotFoundError:
        return ()
    return folder.st_dev, folder.st_ino, file.st_ino, file.st_mtime_ns, file.st_size


def _link_all(place: Path, new: Path, without: Container[str]) -> None:
    for folder, folders, files in os.walk(place, onerror=_raise):
        here, inside = Path(folder), new / Path(folder).relative_to(place)
        links = [name for name in (*folders, *files) if (here / name).is_symlink()]
        for name in links:
            os.symlink(os.readlink(here / name), inside / name)
        for name in folders:
            if name not in links:
                (inside / name).mkdir()
        for name in files:
            if name in links or (inside / name).relative_to(new).as_posix() in without:
                continue
            try:
                os.link(here / name, inside / name)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copy2(here / name, inside / name)


def _raise(error: OSError) -> None:
    raise error


def _exchanged(new: Path, place: Path) -> bool:
    """Whether both changed names in one step, between which nobody finds `place` missing.

    Linux alone, since 3.15, and not on every disk.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # takes longer than all else here, and few ask for it

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    done: int = rename(_HERE, os.fsencode(new), _HERE, os.fsencode(place), _EXCHANGE)
    return done == 0


def _create(temporary: Path, mode: int | None) -> int:
    """Make an empty file that nobody may read who may not read what it replaces, of that `mode`.

    The permissions that it is to have in the end: `mode`, or for a new file those of the umask.
    """
    allowed = 0o666 if mode is None else mode | stat.S_IWUSR
    number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, allowed)
    try:
        return stat.S_IMODE(os.fstat(number).st_mode) if mode is None else mode
    finally:
        os.close(number)


def _mode_of(place: Path) -> int | None:
    """Permissions of what is there, without the bits that run it as somebody else."""
    try:
        return place.stat().st_mode & 0o777
    except OSError:
        return None


def _set_mode(path: Path, mode: int) -> None:
    if _mode_of(path) != mode:
        with suppress(OSError):  # disks without permissions have none to keep
            path.chmod(mode)


def _set_modes(new: Path, place: Path, mode: int) -> None:
    """Files of a folder get `mode`, or that of the file of their name in `place`; so does `new`."""
    for path in new.rglob("*"):
        kept = _mode_of(place / path.relative_to(new))
        if path.is_dir():
            continue
        _set_mode(path, mode if kept is None else kept)
    if (kept := _mode_of(place)) is not None:
        _set_mode(new, kept)


def _move_file_in(new: Path, place: Path, force: bool) -> None:
    if force:
        _refuse_existing_file(place, force)  # it may have become a folder
        os.replace(new, place)
        return
    try:
        os.link(new, place)  # of two writers one: a rename would take the place of another's file
    except FileExistsError:
        raise OutputExists(place) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _claim_and_move(new, place)
    else:
        new.unlink()


def _claim_and_move(new: Path, place: Path) -> None:
    """For disks without hard links (FAT): whoever makes the empty file may replace it."""
    with held_signals():
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise OutputExists(place) from None
        try:
            os.replace(new, place)
        except BaseException:
            place.unlink()
            raise


def _move_folder_in(new: Path, place: Path, force: bool, marker: str) -> None:
    while True:
        try:
            os.rename(new, place)  # succeeds where nothing is, or an empty folder
            return
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
        _refuse_existing_folder(place, force, marker)
        # Each time round, another writer has moved its own folder in or out: one always gets on.
        with held_signals():
            if _swap_in(new, place):
                return


def _swap_in(new: Path, place: Path) -> bool:
    """Whether `new` took the place of the folder there; not where another writer was quicker."""
    old = _hidden_beside(place, "old")
    try:
        os.rename(place, old)
    except FileNotFoundError:
        return False
    try:
        os.rename(new, place)
    except OSError as error:
        if error.errno not in _OCCUPIED:
            os.rename(old, place)
            raise
        _remove(old)  # what is there now has replaced it
        return False
    _remove(old)
    return True


def _remove(folder: Path) -> None:
    _set_mode(folder, 0o700)  # else what is in a folder that must not be changed would stay
    shutil.rmtree(folder, ignore_errors=True)


def _real(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError as error:
        raise OutputNotWritable(
            f"{os.fspath(path)} cannot be written: the current folder was removed. Go to another."
        ) from error


def _hidden_beside(place: Path, kind: str) -> Path:
    # 40 characters: with the rest, below the 255 bytes a name may have in any script.
    return place.with_name(f".{place.name[:40]}.{secrets.token_hex(4)}.{kind}")


def _refuse_existing_file(place: Path, force: bool) -> None:
    found = _found(place)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{place} is a folder. Name a file, for example one inside it.")
    if not stat.S_ISREG(found.st_mode):  # a rename over /dev/null would replace it for everyone
        raise UsageError(f"{place} is a device or pipe; only a regular file can be written.")
    if not force:
        raise OutputExists(place)


def _refuse_existing_folder(place: Path, force: bool, marker: str) -> None:
    while (found := _found(place)) is not None:
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{place} is a file; a folder is written here. Name another place.")
        if not force:
            raise OutputExists(place)
        if _replaceable(place, marker):
            return
        now = _found(place)
        if now is not None and os.path.samestat(found, now):  # else another writer replaced it
            raise UsageError(
                f"{place} is not replaced: it holds files but no {marker}, so this toolkit did not "
                "write it. Name another folder, or delete that one yourself."
            )


def _replaceable(place: Path, marker: str) -> bool:
    with _output_errors(place, place):
        try:
            return (place / marker).is_file() or not any(place.iterdir())
        except FileNotFoundError:  # another writer moved it aside
            return False


def _found(place: Path) -> os.stat_result | None:
    """What is there; one question, because other writers may come between two."""
    try:
        return place.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputNotWritable(_sentence(error, place)) from error


@contextmanager
def _output_errors(place: Path, temporary: Path) -> Iterator[None]:
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
