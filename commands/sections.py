"""Options under headings, which the help of a command shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["SectionedCommand", "section"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_HEADINGS = "__vidtok_edge_headings__"


def section(
    heading: str, *options: Callable[[Decorated], Decorated]
) -> Callable[[Decorated], Decorated]:
    """A decorator that adds options, in this order, to the section of a `SectionedCommand`."""

    def add(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
            parameters: list[click.Parameter] = command.__click_params__  # type: ignore[attr-defined]
            command.__dict__.setdefault(_HEADINGS, {})[parameters[-1].name] = heading
        return command

    return add


class SectionedCommand(click.Command):
    """A command whose options are shown under their headings; those that have none come first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, str] = getattr(self.callback, _HEADINGS, {})
        rows: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and row is not None:
                heading = headings.get(parameter.name or "", "Options")
                rows.setdefault(heading, []).append(row)
        for heading, of_it in rows.items():
            with formatter.section(heading):
                formatter.write_dl(of_it)
