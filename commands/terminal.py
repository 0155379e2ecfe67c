"""What reaches the terminal: everything that a command prints passes through here."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import click

from vidtok_edge.errors import OutputNotWritable

__all__ = ["Styled", "columns", "flush", "say", "screen", "shown"]

# C0 but for tab and newline, DEL, C1, the controls of bidirectional text (Unicode 16, UAX 9), the
# separators that break a line, and the halves of pairs that stand for bytes in file names.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_BROKEN_CELL = re.compile(r"[\t\n]")


class Styled(str):
    """A text that is safe to show, with the control characters of a style around it."""

    __slots__ = ()

    @classmethod
    def of(cls, text: object, **style: Any) -> Styled:
        """The text with its control characters written out, in a style of `click.style`."""
        return cls(click.style(shown(text), **style))


def shown(text: object, *, one_line: bool = False) -> str:
    r"""The text with its control characters written out, as Python writes them.

    Names come from other people's files, and a terminal obeys what it is sent: a name could clear
    the screen, set the window's title, or turn the order of letters round.

    Args:
        text: anything that can be a string.
        one_line: whether tabs and newlines are written out, too.

    >>> shown("a\x1b[2J\u202eb")
    'a\\x1b[2J\\u202eb'
    """
    if isinstance(text, Styled):
        return text
    safe = _CONTROLS.sub(_written_out, str(text))
    return _BROKEN_CELL.sub(_written_out, safe) if one_line else safe


def say(text: object = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print a text whose control characters are written out, in a style of `click.style`.

    Where standard error takes nothing any more, nobody reads it, and the work goes on. Nobody reads
    either where it was closed before this program began.

    Raises:
        OutputNotWritable: standard output takes nothing any more.
    """
    if (sys.stderr if err else sys.stdout) is None:  # click before 8.1.4 would fail
        return
    try:
        click.echo(Styled.of(text, **style) if style else shown(text), err=err, nl=nl)
    except OSError as error:
        _abandon(sys.stderr if err else sys.stdout)
        if not err:
            raise _broken(error) from error


def flush() -> None:
    """Write what standard output still holds. Raises OutputNotWritable where it takes nothing."""
    if sys.stdout is None:  # it was closed before this program began
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        _abandon(sys.stdout)
        raise _broken(error) from error


def columns() -> int:
    """Of the terminal that standard error is; 80 where it is none, or does not tell."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return 80


def screen() -> TextIO:
    """Standard error for a progress bar, which must not end the work where that takes nothing."""
    return cast("TextIO", _Screen())


class _Screen:
    """What `click.progressbar` asks of a stream."""

    def write(self, text: str) -> int:
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except (AttributeError, OSError, ValueError):
            _abandon(sys.stderr)

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()


def _broken(error: OSError) -> OutputNotWritable:
    gone = isinstance(error, BrokenPipeError)
    why = "what reads it has ended" if gone else error.strerror or str(error)
    return OutputNotWritable(f"standard output cannot be written any further: {why}.")


def _abandon(stream: TextIO | None) -> None:
    """Send what a standard stream still holds to nowhere.

    Python would fail once more when it exits, and change the exit code.
    """
    with suppress(AttributeError, OSError, ValueError):  # no stream, or none of the system's
        number = stream.fileno()  # type: ignore[union-attr]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def _written_out(match: re.Match[str]) -> str:
    character = match.group()
    byte = ord(character) - 0xDC00  # a byte of a file name that is no UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else repr(character)[1:-1]
