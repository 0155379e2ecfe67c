"""What several commands print, and what they do when something is missing or went wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidtok_edge.commands.terminal import Styled, columns, say, screen, shown
from vidtok_edge.errors import CheckFailed, ClipError, OutputNotWritable

if TYPE_CHECKING:
    from vidtok_edge.export import ParityReport
    from vidtok_edge.runtime import Bundle
    from vidtok_edge.runtime.bench.meters.checks import Check
    from vidtok_edge.runtime.manifest.manifest import Manifest
    from vidtok_edge.runtime.progress import Progress


def need(extra: str, but: tuple[str, ...] = ()) -> None:
    from vidtok_edge.runtime.extras import require

    require(extra, "This command", but)


def need_export() -> None:
    need("export", but=("matplotlib",))  # only the plot of calibrate uses it


def need_models() -> None:
    """What runs the models of the extra `export` where no clip is read."""
    need("export", but=("matplotlib", "av"))


def need_record() -> None:
    # Only chunks that other tools compressed use these, and only `join` the last one.
    need("record", but=("lz4", "zstandard", "mcap-ros2-support"))


def print_checks(checks: Sequence[Check]) -> None:
    """Each with what was found and what mends it. Raises CheckFailed: one is not as expected."""

    def mark(check: Check) -> Styled:
        if not check.found:
            return Styled.of("??", fg="yellow")
        return Styled.of("ok", fg="green") if check else Styled.of("--", fg="red")

    print_columns(
        [
            (
                mark(c),
                c.name,
                c.found or "not told",
                f"expected {c.expected}" if c.expected else "",
                "" if c else c.remedy,
            )
            for c in checks
        ]
    )
    if off := [check for check in checks if not check]:
        names = ", ".join(check.name for check in off)
        raise CheckFailed(f"{len(off)} of {len(checks)} are not as they should be: {names}.")
    say("Everything that is told here is as it should be.")


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
    say(f"{name:<28}", nl=False)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        with suppress(OutputNotWritable):  # what ended it says more
            say(" not finished")
        raise
    size = f"{path.stat().st_size / 1e6:9.1f} MB" if path is not None else ""
    say(f" {time.perf_counter() - start:7.1f} s {size}")


_BESIDE_A_BAR = 30  # columns: brackets, spaces, 99999/99999 and 00:00:00


@contextmanager
def frame_bar(label: str) -> Iterator[Progress]:
    """A progress bar over frames; on something that is no terminal, nothing."""
    width = min(36, max(1, columns() - len(label) - _BESIDE_A_BAR))
    with click.progressbar(length=1, label=label, file=screen(), show_pos=True, width=width) as bar:
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
    say(f"\nparity of {report.variant} on {report.backend}, against the PyTorch reference")
    say(report.table())


def describe(manifest: Manifest) -> str:
    caches = ", ".join(f"{g.name} {g.cache_bytes / 1e6:.1f} MB" for g in manifest.graphs)
    weights = (
        f"{manifest.weights.source}, {manifest.weights.location}, {manifest.weights.sha256[:12]}"
    )
    return (
        f"{manifest.model.variant}  weights: {weights}\n"
        f"caches   {caches} for {manifest.streams} stream(s); an engine holds two sets"
    )


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows of cells, each a line or a `Styled`, under one another."""
    lines = [
        [cell if isinstance(cell, Styled) else shown(cell, one_line=True) for cell in row]
        for row in rows
    ]
    widths = [max(len(click.unstyle(line[i])) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = [
            cell + " " * (w - len(click.unstyle(cell)))
            for cell, w in zip(line, widths, strict=True)
        ]
        say(Styled("  ".join(cells).rstrip()))


def warn(text: str) -> None:
    say(shown(f"warning: {text}", one_line=True), fg="yellow", err=True)


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
