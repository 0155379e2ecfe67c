"""`doctor`."""

from __future__ import annotations

import click

from vidtok_edge.commands.printing import print_columns
from vidtok_edge.commands.terminal import Styled


@click.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and the line that installs it."""
    from vidtok_edge.errors import BackendUnavailable
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
