"""Options under headings."""

from __future__ import annotations

import re

import click
from click.testing import CliRunner

from vidtok_edge.cli import main
from vidtok_edge.commands.sections import SectionedCommand, section


@click.command(cls=SectionedCommand)
@click.argument("path")
@click.option("--one")
@section("Others", click.option("--two"), click.option("--three", "third"))
@click.option("--four")
def command(path: str, one: str, two: str, third: str, four: str) -> None:
    print(path, one, two, third, four)


def test_options_are_taken_in_order_and_shown_under_their_heading() -> None:
    shown = CliRunner().invoke(command, ["--help"]).output
    general, _, others = shown.partition("Others:")
    assert re.findall(r"--\w+", general) == ["--one", "--four", "--help"]
    assert re.findall(r"--\w+", others) == ["--two", "--three"]
    given = ["p", "--three", "3", "--four", "4", "--two", "2", "--one", "1"]
    assert CliRunner().invoke(command, given).output == "p 1 2 3 4\n"


def test_no_option_of_a_command_is_left_out_of_its_help() -> None:
    for name, one in main.commands.items():
        if not isinstance(one, SectionedCommand):
            continue
        shown = CliRunner().invoke(main, [name, "--help"]).output
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                assert parameter.opts[0] in shown
