"""What several commands print, and what they do when something is missing or went wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidtok_edge.errors import CheckFailed, ClipError, VidTokEdgeError

if TYPE_CHECKING:
    from vidtok_edge.export import ParityReport
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.manifest.manifest import Manifest
    from vidtok_edge.runtime.progress import Progress


class Group(click.Group):
    """Turns an error of ours into one line and its exit code."""

    def invoke(self, context: click.Context) -> Any:
        return _reporting(lambda: super(Group, self).invoke(context))


class Command(click.Command):
    """The same for a command that is a program of its own."""

    def invoke(self, context: click.Context) -> Any:
        return _reporting(lambda: super(Command, self).invoke(context))


def _reporting(call: Any) -> Any:
    try:
        return call()
    except VidTokEdgeError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)


def need(extra: str, but: tuple[str, ...] = ()) -> None:
    from vidtok_edge.runtime.extras import require

    require(extra, "This command", but)


def need_export() -> None:
    need("export", but=("matplotlib",))  # only the plot of calibrate uses it


def need_record() -> None:
    need("record", but=("lz4", "zstandard"))  # only chunks that other tools compressed use them


def load_bundle(path: Path) -> Bundle:
    """A bundle whose files are those that were verified. Raises as `Bundle.load`."""
    from vidtok_edge.runtime import Bundle

    bundle = Bundle.load(path, check_hashes=True)
    if not bundle.manifest.verified:
        warn(f"{path} did not pass its verification")
    return bundle


@contextmanager
def stage(name: str, path: Path | None) -> Iterator[None]:
    """One line per stage: its name while it runs, then seconds and megabytes."""
    click.echo(f"{name:<28}", nl=False)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        click.echo(" not finished")
        raise
    size = f"{path.stat().st_size / 1e6:9.1f} MB" if path is not None else ""
    click.echo(f" {time.perf_counter() - start:7.1f} s {size}")


@contextmanager
def frame_bar(label: str) -> Iterator[Progress]:
    """A progress bar over frames; on something that is no terminal, nothing."""
    with click.progressbar(length=1, label=label, file=sys.stderr, show_pos=True) as bar:
        bar.length = 0

        def progress(done: int, total: int | None) -> None:
            bar.length = max(total or 0, done)
            bar.update(done - bar.pos)

        yield progress


def report_loss(lost: str | None) -> None:
    if lost is not None:
        raise ClipError(f"the clip could not be read whole; what could be read was used. {lost}")


def require_passed(report: ParityReport, otherwise: str) -> None:
    if not report:
        worst = "; ".join(str(failure) for failure in report.failures)
        raise CheckFailed(f"{otherwise}: {worst}")


def print_report(report: ParityReport) -> None:
    click.echo(f"\nparity of {report.variant} on {report.backend}, against the PyTorch reference")
    click.echo(report.table())


def describe(manifest: Manifest) -> str:
    caches = ", ".join(f"{g.name} {g.cache_bytes / 1e6:.1f} MB" for g in manifest.graphs)
    weights = (
        f"{manifest.weights.source}, {manifest.weights.location}, {manifest.weights.sha256[:12]}"
    )
    return (
        f"{manifest.model.variant}  weights: {weights}\n"
        f"caches   {caches} for {manifest.streams} stream(s); a running graph holds two sets"
    )


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(click.unstyle(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell + " " * (w - len(click.unstyle(cell))) for cell, w in zip(row, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def warn(text: str) -> None:
    click.secho(f"warning: {text}", fg="yellow", err=True)


def warn_of_missing(broken: int, damaged_bytes: int, unreadable: int, effect: str) -> None:
    """What a recording lacks, as far as it was read; `effect` is of latents that are missing."""
    told = []
    if broken:
        told.append(f"latents are missing in {broken} places; {effect}")
    if damaged_bytes:
        told.append(f"{damaged_bytes} bytes are damaged")
    if unreadable:
        told.append(f"{unreadable} messages make no sense")
    if told:
        warn(f"{'; '.join(told)}. What was lost: vidtok-edge recover")
