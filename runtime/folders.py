"""Folders that are whole or absent: written beside their place, moved in when complete."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from vidtok_edge.errors import OutputExists, UsageError
from vidtok_edge.runtime.held_signals import held_signals
from vidtok_edge.runtime.output_place import (
    NO_LINKS,
    found_at,
    hidden_beside,
    mode_of,
    output_errors,
    real_place,
    set_mode,
)

__all__ = ["add_to_folder_beside", "write_folder_beside"]

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
# What a rename of a folder answers where something else is.
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


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
    place = real_place(path)
    _refuse_existing_folder(place, force, marker)
    temporary = hidden_beside(place, "part")
    with output_errors(place, temporary):
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
    place = real_place(path)
    if not (place / marker).is_file():
        raise UsageError(
            f"{place} has no {marker}, so there is nothing to add to. Name a folder that was "
            "written before, or make a new one."
        )
    before = _state_of(place, marker)
    temporary = hidden_beside(place, "part")
    with output_errors(place, temporary):
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
                if error.errno not in NO_LINKS:
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


def _set_modes(new: Path, place: Path, mode: int) -> None:
    """Files of a folder get `mode`, or that of the file of their name in `place`; so does `new`."""
    for path in new.rglob("*"):
        kept = mode_of(place / path.relative_to(new))
        if path.is_dir():
            continue
        set_mode(path, mode if kept is None else kept)
    if (kept := mode_of(place)) is not None:
        set_mode(new, kept)


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
    old = hidden_beside(place, "old")
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
    set_mode(folder, 0o700)  # else what is in a folder that must not be changed would stay
    shutil.rmtree(folder, ignore_errors=True)


def _refuse_existing_folder(place: Path, force: bool, marker: str) -> None:
    while (found := found_at(place)) is not None:
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{place} is a file; a folder is written here. Name another place.")
        if not force:
            raise OutputExists(place)
        if _replaceable(place, marker):
            return
        now = found_at(place)
        if now is not None and os.path.samestat(found, now):  # else another writer replaced it
            raise UsageError(
                f"{place} is not replaced: it holds files but no {marker}, so this toolkit did not "
                "write it. Name another folder, or delete that one yourself."
            )


def _replaceable(place: Path, marker: str) -> bool:
    with output_errors(place, place):
        try:
            return (place / marker).is_file() or not any(place.iterdir())
        except FileNotFoundError:  # another writer moved it aside
            return False
