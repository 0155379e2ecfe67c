"""`doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from vidtok_edge.commands.options import PathName
from vidtok_edge.commands.printing import print_checks, print_columns
from vidtok_edge.commands.terminal import Styled
from vidtok_edge.errors import BackendUnavailable, UsageError


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="Hold power mode, clocks, temperatures, memory, swap, disk, other work and drivers to "
    "what a machine of this kind should have; exit 1 where one is not so.",
)
@click.option(
    "--folder",
    type=PathName(),
    help="With --check: where the bundle lies, or recordings go; its disk is looked at.  "
    "[default: here]",
)
def doctor(check: bool, folder: Path | None) -> None:
    """Say what this machine has, what is missing, and the line that installs it."""
    if check:
        _check(folder or Path())
        return
    if folder is not None:
        raise UsageError("--folder says where --check looks; give --check, too.")
    from vidtok_edge.runtime.doctor import examine

    findings = examine()
    print_columns(
        [
            (
                Styled.of("ok", fg="green") if f else Styled.of("--", fg="yellow"),
                f.name,
                f.found or "absent",
                f.purpose,
                "" if f else f.install,
            )
            for f in findings
        ]
    )
    missing = [f for f in findings if f.needed and not f]
    if missing:
        raise BackendUnavailable(f"Nothing here can run a bundle. Install: {missing[0].install}")


def _check(folder: Path) -> None:
    from vidtok_edge.runtime.bench.meters.checks import check_machine

    print_checks(check_machine(folder))
