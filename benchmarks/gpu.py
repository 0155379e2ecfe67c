"""What this machine's GPU can tell of the project, in a few minutes: `make gpu`.

    python benchmarks/gpu.py --list         # the steps, and what is missing here
    python benchmarks/gpu.py                # seven minutes, into docs/measured/DATE-DEVICE/
    python benchmarks/gpu.py --rehearse     # two minutes, without a GPU, into a scratch folder
    python benchmarks/gpu.py --page FOLDER  # the page of a result again, from its JSON

A step that fails or does not fit in the time that is left does not end the run. Needs no network.
With an interpreter of your own: PYTHONPATH=src:benchmarks python3 benchmarks/gpu.py. Exits 1 where
a step failed, 2 for a wrong call, 4 where there is no GPU.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NoReturn

import click
from gpu_run.facts import driver_version, slug_of
from gpu_run.figures import collect
from gpu_run.needs import GPU
from gpu_run.page import PAGE, page_of, table_of
from gpu_run.places import ROOT, Places
from gpu_run.record import RESULT, Outcome, Record, outcomes, read_record, without
from gpu_run.rehearsal import rehearsal_steps
from gpu_run.running import run_steps
from gpu_run.step import Step
from gpu_run.steps import gpu_steps
from report import commit_of

from vidtok_edge.errors import BackendUnavailable, OutputExists, UsageError, VidTokEdgeError
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.files import write_beside

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(help=__doc__)
@click.option("--minutes", default=7.0, show_default=True, type=click.FloatRange(min=0.05))
@click.option("--only", metavar="A,B", help="These steps alone, in the order of the list.")
@click.option("--list", "listing", is_flag=True, help="Say what would be run, and run nothing.")
@click.option("--bundle", type=_FOLDER, help="Take this bundle in place of an export.")
@click.option("--output", type=_FOLDER, help="[default: docs/measured/DATE-DEVICE]")
@click.option("--scratch", type=_FOLDER, help="Keep bundles and engines here.  [default: removed]")
@click.option("--commit", help="Of a checkout without git.")
@click.option("--rehearse", is_flag=True, help="At small size, on a CPU, into a scratch folder.")
@click.option("--force", is_flag=True, help="Replace a result that is there.")
@click.option("--page", type=_FOLDER, help="Write the page of this result again; run nothing.")
def main(
    minutes: float,
    only: str | None,
    listing: bool,
    bundle: Path | None,
    output: Path | None,
    scratch: Path | None,
    commit: str | None,
    rehearse: bool,
    force: bool,
    page: Path | None,
) -> None:
    try:
        if page is not None:
            _write_page(page)
            return
        with ExitStack() as stack:
            if scratch is None:
                made = stack.enter_context(tempfile.TemporaryDirectory(prefix="vidtok-edge-gpu-"))
                scratch = Path(made)
            machine = describe_machine()
            date = datetime.now(timezone.utc)
            if output is None:
                kept = Path(tempfile.gettempdir()) if rehearse else ROOT / "docs" / "measured"
                name = slug_of(machine, f"{date:%Y-%m-%d}")
                output = kept / (f"vidtok-edge-rehearsal-{name}" if rehearse else name)
            given = None if bundle is None else bundle.resolve()
            places = Places(output.resolve(), scratch.resolve(), given)
            steps = (rehearsal_steps if rehearse else gpu_steps)(places, given)
            steps = _chosen(steps, only)
            if listing:
                _list(steps, minutes)
                return
            if not rehearse and (missing := GPU.missing()):
                raise BackendUnavailable(
                    f"There is no GPU to measure: {missing}. Without one: --rehearse, or --list."
                )
            _prepare(places, force)
            record = Record(
                started=date.isoformat(timespec="seconds"),
                minutes=minutes,
                rehearsal=rehearse,
                commit=commit or commit_of(),
                driver=driver_version(),
                machine=replace(machine, load_average=None),
                steps=outcomes(steps, places.shown),
            )
            _run(record, steps, places, minutes * 60)
    except VidTokEdgeError as error:
        _leave(error)
    sys.exit(1 if record.failed else 0)


def _leave(error: VidTokEdgeError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)


def _chosen(steps: list[Step], only: str | None) -> list[Step]:
    """Those that `only` names, or all; raises UsageError for one that is none."""
    if only is None:
        return steps
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = [step.name for step in steps]
    if unknown := [name for name in names if name not in known] or not names:
        raise UsageError(
            f"--only names {unknown if names else 'nothing'}; the steps are {', '.join(known)}."
        )
    return [step for step in steps if step.name in names]


def _list(steps: Sequence[Step], minutes: float) -> None:
    """Each step, about how long, and what it needs that is not here."""
    for step in steps:
        missing = [f"{need.name}: {why}" for need in step.needs if (why := need.missing())]
        after = f", after {', '.join(step.after)}" if step.after else ""
        click.echo(f"{step.name:26} {step.expected_s:4.0f} s  {step.what}{after}")
        for line in missing:
            click.echo(f"{'':26}         not here: {line}")
    total = sum(step.expected_s for step in steps)
    click.echo(
        f"about {total:.0f} s in all; {60 * minutes:.0f} s are allowed, and steps that do not fit "
        "are skipped"
    )


def _prepare(places: Places, force: bool) -> None:
    """Folders of the result and for scratch, the first one new."""
    if places.output.exists() and any(places.output.iterdir()):
        if not force:
            raise OutputExists(
                f"{places.output} holds a result already. Name another folder with --output, or "
                "replace it with --force."
            )
        if not (places.output / RESULT).is_file():
            raise OutputExists(
                f"{places.output} is not a result of `make gpu`, and --force replaces nothing "
                "else. Name another folder with --output."
            )
        shutil.rmtree(places.output)
    for folder in (places.logs, places.output / "steps", places.scratch):
        folder.mkdir(parents=True, exist_ok=True)


def _run(record: Record, steps: Sequence[Step], places: Places, budget_s: float) -> None:
    """Run the steps; the result on disk is whole after each."""
    record.write(places.output)
    begin = time.monotonic()

    def changed(outcome: Outcome, left: float) -> None:
        outcome.message = without(outcome.message, places.shown)
        number = record.steps.index(outcome) + 1
        line = f"[{number}/{len(steps)}] {outcome.name}"
        if outcome.status == "not reached":
            click.echo(f"{line}: about {outcome.expected_s:.0f} s, {left:.0f} s left ...")
            return
        if outcome.seconds is not None:
            _collect(record, places, outcome)
        took = "" if outcome.seconds is None else f" in {outcome.seconds:.0f} s"
        why = f"; {outcome.message}" if outcome.message else ""
        click.echo(f"{line}: {outcome.status}{took}{why}")
        record.write(places.output)

    try:
        run_steps(steps, record.steps, places.logs, budget_s, changed=changed)
    finally:
        _write_page(places.output)
    for title, rows in record.tables.items():
        if rows:
            click.echo(f"\n{title}\n\n{table_of(rows)}")
    click.echo(f"\n{time.monotonic() - begin:.0f} s; {places.output / PAGE}")


def _collect(record: Record, places: Places, outcome: Outcome) -> None:
    """Into `record` what steps wrote by now; where that cannot be read, `outcome` has failed."""
    try:
        collect(record, places)
    except Exception as error:  # whatever it is, the steps that follow are worth having
        what = f"what it wrote cannot be read: {type(error).__name__}: {error}"
        why = without(what, places.shown)
        outcome.status, outcome.message = "failed", "; ".join(filter(None, (outcome.message, why)))


def _write_page(folder: Path) -> None:
    text = page_of(read_record(folder))
    with write_beside(folder / PAGE, force=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
