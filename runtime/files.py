"""Files that are whole or absent: written beside their place, moved in when complete."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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

__all__ = [
    "replace_file",
    "require_each_once",
    "require_not_read",
    "require_recording_name",
    "require_writable",
    "write_beside",
]

# Clips, pictures, tokens, data and bags, as they are written here or taken for a recording.
_OF_OTHERS = re.compile(
    r"\.(avi|m4v|mkv|mov|mp4|ts|webm|y4m|gif|jpe?g|png|npy|npz|parquet|rrd|tar|json|bag|db3|onnx)",
    re.IGNORECASE,
)


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
    place = real_place(path)
    _refuse_existing_file(place, force)
    temporary = hidden_beside(place, "part")
    with output_errors(place, temporary):
        try:
            mode = _create(temporary, mode_of(place))
            yield temporary
            kept = mode_of(place)
            set_mode(temporary, mode if kept is None else kept)
            _move_file_in(temporary, place, force)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def require_writable(path: str | os.PathLike[str], force: bool = False) -> None:
    """Raise now what `write_beside` would raise after hours of work; nothing stays on the disk."""
    place = real_place(path)
    _refuse_existing_file(place, force)
    temporary = hidden_beside(place, "part")
    with output_errors(place, temporary), held_signals():
        _create(temporary, None)
        temporary.unlink()


def require_not_read(output: str | os.PathLike[str], *inputs: str | os.PathLike[str]) -> None:
    """Raise UsageError where `output` is one of `inputs`, whatever the names; also with force."""
    for path in inputs:
        with suppress(OSError, ValueError):  # one is not there, or cannot be: told where it is used
            if os.path.samefile(path, output):
                raise UsageError(f"{output} is read here, and stays as it is. Name another output.")


def require_recording_name(output: str | os.PathLike[str]) -> None:
    """Raise UsageError for the name of a recording that names another format, as `drive.mp4`."""
    path = Path(output)
    if _OF_OTHERS.fullmatch(path.suffix):
        raise UsageError(
            f"{path}: a recording holds tokens, as MCAP, and {path.suffix} names another format. "
            f"Name it {path.with_suffix('.mcap')}. (vidtok-edge replay makes a clip of it, .mp4 or "
            ".mkv; export-recording makes training data.)"
        )


def require_each_once(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise UsageError where two of `paths` are one file or folder, also by links or lists."""
    found: dict[tuple[int, int], str | os.PathLike[str]] = {}
    for path in paths:
        with suppress(OSError, ValueError):  # one is not there, or cannot be: told where it is used
            told = os.stat(path)
            key = told.st_dev, told.st_ino
            if key in found:
                raise UsageError(f"{found[key]} and {path} are the same. Name it once.")
            found[key] = path


def replace_file(new: Path, place: Path) -> None:
    """Move a file over another, whose permissions it takes. Raises OSError as `os.replace`."""
    if (mode := mode_of(place)) is not None:
        set_mode(new, mode)
    os.replace(new, place)


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
        if error.errno not in NO_LINKS:
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


def _refuse_existing_file(place: Path, force: bool) -> None:
    found = found_at(place)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{place} is a folder. Name a file, for example one inside it.")
    if not stat.S_ISREG(found.st_mode):  # a rename over /dev/null would replace it for everyone
        raise UsageError(f"{place} is a device or pipe; only a regular file can be written.")
    if not force:
        raise OutputExists(place)
