"""What the end of a command says, and its exit code, from the error that ended it."""

from __future__ import annotations

import errno
import os
import signal
import sys
from dataclasses import dataclass

from vidtok_edge.commands.signals import Terminated
from vidtok_edge.errors import InputError, MissingFromEnvironment, OutOfMemory, VidTokEdgeError

__all__ = ["DEBUG", "FAULT", "Outcome", "outcome_of"]

DEBUG = "VIDTOK_EDGE_DEBUG"
"""The environment variable that shows tracebacks."""

FAULT = 70
"""The exit code of a fault of ours: EX_SOFTWARE of sysexits.h."""

_BAD_INPUT = InputError.exit_code
_ENVIRONMENT = MissingFromEnvironment.exit_code

# Libraries whose errors are about what they read. Those of others are about what they run on.
_READERS = {
    "PIL",
    "av",
    "binascii",
    "json",
    "lz4",
    "mcap",
    "onnx",
    "pickle",
    "pyarrow",
    "safetensors",
    "struct",
    "tomli",
    "tomllib",
    "yaml",
    "zipfile",
    "zlib",
    "zstandard",
}
# Modules whose errors tell of a mistake in the code that called them.
_OURS = {"builtins", "numpy", "vidtok_edge"}
_STANDARD_THAT_RUN = {"concurrent", "multiprocessing", "socket", "subprocess"}

# Errors of the system about what was named, not about what it can do.
_NAMED_WRONGLY = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EILSEQ,
}
_THEN = {
    errno.ENOSPC: "Free some space, or choose another disk",
    errno.EDQUOT: "Free some space, or choose another disk",
    errno.EROFS: "Choose another disk",
    errno.EACCES: "Change the permissions, or name another place",
    errno.EPERM: "Change the permissions, or name another place",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
    errno.ENFILE: "Raise the limit of open files (ulimit -n)",
}
_MOST_LETTERS = 500


@dataclass(frozen=True)
class Outcome:
    """How a command ends."""

    line: str
    """What is said."""
    exit_code: int
    is_fault: bool = False
    """Whether the mistake is in this toolkit."""
    is_error: bool = True
    """Whether anything went wrong: not after Ctrl-C."""


def outcome_of(error: BaseException) -> Outcome:
    """What ended a command, in one line, with its exit code.

    Errors of this toolkit speak for themselves. Those of the system and of libraries that nobody
    expected are the input's (3) or the environment's (4). All others are faults of ours.
    """
    if isinstance(error, VidTokEdgeError):
        return Outcome(str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        number = error.number if isinstance(error, Terminated) else signal.SIGINT
        return Outcome(f"ended by {signal.Signals(number).name}", 128 + number, is_error=False)
    if OutOfMemory.is_told_by(error):
        return Outcome(str(OutOfMemory(_said(error))), _ENVIRONMENT)
    if isinstance(error, RecursionError):
        return Outcome(f"what was read is nested too deeply{_more()}", _BAD_INPUT)
    if isinstance(error, BrokenPipeError):
        return Outcome("what reads the output has ended; not all was written to it.", _ENVIRONMENT)
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, UnicodeError):
        return Outcome(f"what was read is no text: {_said(error)}{_more()}", _BAD_INPUT)
    return _of_library(error)


def _of_system(error: OSError) -> Outcome:
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if _is_path(name)]
    what = ": ".join([error.strerror or _said(error), *named[:1]])
    then = f". {_THEN[error.errno]}" if error.errno in _THEN else ""
    about_input = error.errno is None or error.errno in _NAMED_WRONGLY or _root(error) in _READERS
    return Outcome(f"{what}{then}{_more()}", _BAD_INPUT if about_input else _ENVIRONMENT)


def _of_library(error: BaseException) -> Outcome:
    root = _root(error)
    if root in _READERS:
        return Outcome(f"{root} cannot read this: {_said(error)}{_more()}", _BAD_INPUT)
    if root not in _OURS and (root not in sys.stdlib_module_names or root in _STANDARD_THAT_RUN):
        return Outcome(f"{root} failed: {_said(error)}{_more()}", _ENVIRONMENT)
    return Outcome(
        f"this is a fault in vidtok-edge, not in what it was given: {_said(error)}. Please report "
        "it where you got vidtok-edge, with the command, the lines above and what "
        "`vidtok-edge doctor` prints.",
        FAULT,
        is_fault=True,
    )


def _root(error: BaseException) -> str:
    name = type(error).__module__.partition(".")[0]
    return "zstandard" if name == "zstd" else name  # as it called its module before 0.23


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike)


def _said(error: BaseException) -> str:
    """The kind of the error and its sentence, in one line that is not too long."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": .")
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."


def _more() -> str:
    return f". {DEBUG}=1 shows where."
