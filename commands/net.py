"""The net under every command: whatever ends it becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from vidtok_edge.commands.outcome import DEBUG, Outcome, outcome_of
from vidtok_edge.commands.signals import ending_signals
from vidtok_edge.commands.terminal import flush, say, shown
from vidtok_edge.errors import OutputNotWritable

__all__ = ["Command", "Group"]


class Command(click.Command):
    """A command under the net."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _net():
            return super().make_context(*args, **extra)

    def invoke(self, context: click.Context) -> Any:
        with _net():
            return super().invoke(context)


class Group(Command, click.Group):
    """The same for a group, and so for its commands."""


@contextmanager
def _net() -> Iterator[None]:
    try:
        with ending_signals():
            yield
            flush()
    except click.ClickException as error:
        vars(error).update(message=shown(error.message))  # click prints it
        raise
    except (click.exceptions.Exit, click.Abort, SystemExit):
        raise
    except BaseException as error:
        sys.exit(_ended_by(error))


def _ended_by(error: BaseException) -> int:
    """Say what ended the command; its exit code."""
    with suppress(OutputNotWritable):
        flush()  # what was printed comes before; and Python must not fail at it when it exits
    outcome = outcome_of(error)
    _report(error, outcome)
    return outcome.exit_code


def _report(error: BaseException, outcome: Outcome) -> None:
    if outcome.is_fault or os.environ.get(DEBUG, "0") not in ("", "0"):
        say("".join(traceback.format_exception(error)), err=True, nl=False)
    if outcome.is_error:
        say(f"error: {outcome.line}", err=True, fg="red")
    else:
        say(outcome.line, err=True)
