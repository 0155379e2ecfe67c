"""Everything that can be run on this machine's GPU in a few minutes, as JSON and a page.

    make gpu
    python benchmarks/gpu_run.py --list          # what would be run, what it needs, what is here
    python benchmarks/gpu_run.py --rehearse      # small and on the CPU: does it run?

Each step is a process with a time limit and a log. One that fails, or for which no time is left, is
said to be so, and the next one is run. Results are written after each step. Exits 1 where a step
failed, 4 where there is no GPU. docs/measured/README.md says what to do with the results.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import click
from gpu_page import page_of
from gpu_steps import NEEDS, ROOT, Places, Step, rehearsal, steps

from vidtok_edge.errors import BackendUnavailable, VidTokEdgeError
from vidtok_edge.runtime.backends.gpu import gpu_obstacle, present_gpu
from vidtok_edge.runtime.bench.meters.machine import describe_machine
from vidtok_edge.runtime.bench.meters.settings import driver_version

__all__ = ["Outcome", "default_folder", "main", "run_all"]

SCHEMA = 1
TAIL = 15
"""Last lines of a log that the result keeps."""
Status = Literal["passed", "failed", "ended", "not run"]
Runner = Callable[[Step, Path, float], "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step went."""

    name: str
    does: str
    status: Status
    """`ended`: it ran past its limit."""
    why: str = ""
    """Of all that did not pass."""
    seconds: float = 0.0
    command: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    """The last lines of its log."""


@click.command(help=__doc__)
@click.option("--minutes", default=7.0, show_default=True, help="For all steps together.")
@click.option("--only", default="", metavar="A,B", help="These steps, and what they come after.")
@click.option("--list", "listed", is_flag=True, help="Run nothing: list the steps.")
@click.option("--rehearse", is_flag=True, help="Small, on the CPU and the fake GPU of the tests.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the results.  [default: docs/measured/gpu/DATE-DEVICE]",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="One that was exported before, in place of the step `bundle`.",
)
def main(
    minutes: float,
    only: str,
    listed: bool,
    rehearse: bool,
    output: Path | None,
    bundle: Path | None,
) -> None:
    try:
        require_gpu(rehearse or listed)
    except VidTokEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    folder = output or default_folder(rehearse)
    if not listed and (folder / "result.json").exists():
        raise click.UsageError(f"{folder} holds results already. Name another with --output.")
    work = folder / "work"
    places = Places(
        folder=folder, bundle=bundle or work / "vidtok-fsq", full_width=work / "full-width"
    )
    wanted = chosen((rehearsal if rehearse else steps)(places), only, bundle is not None)
    if listed:
        show_list(wanted)
        return
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = run_all(wanted, places, minutes * 60, rehearse)
    click.echo(page_of(json.loads((folder / "result.json").read_text(encoding="utf-8"))))
    click.echo(f"{folder}: result.json, README.md and logs; docs/measured/README.md says what next")
    sys.exit(1 if any(it.status in ("failed", "ended") for it in outcomes) else 0)


def require_gpu(unneeded: bool) -> None:
    """BackendUnavailable: there is no GPU, and one is needed."""
    if unneeded or present_gpu() is not None:
        return
    obstacle = gpu_obstacle()
    why = f" ({obstacle})" if obstacle else ""
    raise BackendUnavailable(
        f"There is no NVIDIA GPU here{why}, and everything that is measured needs one. "
        "--rehearse shows on the CPU what would be run."
    )


def default_folder(rehearse: bool = False) -> Path:
    """`docs/measured/gpu/2026-11-26-nvidia-h200`, of today and this GPU."""
    gpu = present_gpu()
    name = "rehearsal" if rehearse or gpu is None else gpu.name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    day = datetime.now(timezone.utc).date().isoformat()
    return ROOT / "docs/measured/gpu" / f"{day}-{slug}"


def chosen(all_steps: Sequence[Step], only: str, has_bundle: bool) -> list[Step]:
    """The steps that were asked for, and those that they come after. UsageError: no such step."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {step.name: step for step in all_steps}
    if unknown := sorted(set(names) - set(known)):
        allowed = ", ".join(known)
        raise click.UsageError(f"There is no step {', '.join(unknown)}; there are {allowed}.")
    taken = set(names or known)
    for step in reversed(all_steps):
        if step.name in taken:
            taken |= set(step.after)
    return [s for s in all_steps if s.name in taken and not (has_bundle and s.name == "bundle")]


def show_list(wanted: Sequence[Step]) -> None:
    """Print the steps, and what is missing for each."""
    for step in wanted:
        missing = missing_for(step)
        state = f"not here: {', '.join(missing)}" if missing else "can be run"
        click.echo(f"{step.name:<16}{step.expected_s:>4.0f} s  {step.does}; {state}")


def missing_for(step: Step) -> list[str]:
    """What it needs and this machine lacks."""
    return [NEEDS[need][0] for need in step.needs if not NEEDS[need][1]()]


# --- running ----------------------------------------------------------------------------------


def run_all(
    wanted: Sequence[Step],
    places: Places,
    seconds: float,
    rehearsed: bool,
    run: Runner | None = None,
) -> list[Outcome]:
    """Run each step for which there is time, and write the result after each.

    Args:
        wanted: in order.
        places: of results and bundles.
        seconds: for all together.
        rehearsed: said in the result.
        run: runs one step with a log and a limit in seconds; a process where None.
    """
    end, outcomes = time.monotonic() + seconds, list[Outcome]()
    facts = facts_of(rehearsed)
    logs = places.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for step in wanted:
        left = end - time.monotonic()
        why = obstacle_of(step, wanted, outcomes, left)
        if why:
            outcome = Outcome(name=step.name, does=step.does, status="not run", why=why)
        else:
            click.echo(f"{step.name}: {step.does} ({left:.0f} s left)", err=True)
            limit = min(step.limit_s, left)
            outcome = (run or run_process)(step, logs / f"{step.name}.log", limit)
        outcomes.append(outcome)
        said = f": {outcome.why}" if outcome.why else ""
        click.echo(f"  {outcome.status}, {outcome.seconds:.0f} s{said}", err=True)
        keep_proofs(places)
        write_result(places.folder, facts, outcomes)
    return outcomes


def obstacle_of(
    step: Step, wanted: Sequence[Step], outcomes: Sequence[Outcome], left_s: float
) -> str:
    """Why a step is not begun; empty where it is."""
    if missing := missing_for(step):
        return f"not here: {', '.join(missing)}"
    status = {outcome.name: outcome.status for outcome in outcomes}
    names = {other.name for other in wanted}
    before = [name for name in step.after if name in names and status.get(name) != "passed"]
    if before:
        return f"{', '.join(before)} did not pass"
    if left_s < step.expected_s:
        return f"{left_s:.0f} s are left, and it takes about {step.expected_s:.0f}"
    return ""


def run_process(step: Step, log: Path, limit_s: float) -> Outcome:
    """Run a step's command; its output goes to `log`."""
    paths = [str(ROOT / name) for name in ("src", "benchmarks", "tests")]
    before = os.environ.get("PYTHONPATH")
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, *([before] if before else [])]),
    }
    start, status, why = time.monotonic(), "passed", ""
    with log.open("wb") as file:
        try:
            done = subprocess.run(
                step.command,
                cwd=ROOT,
                env=variables,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            status, why = "ended", f"it took longer than {limit_s:.0f} s"
        except OSError as error:
            status, why = "failed", str(error)
        else:
            if done.returncode:
                status, why = "failed", f"exit code {done.returncode}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return Outcome(
        name=step.name,
        does=step.does,
        status=status,  # type: ignore[arg-type]
        why=why,
        seconds=round(time.monotonic() - start, 1),
        command=step.command,
        tail=tuple(lines[-TAIL:]),
    )


def keep_proofs(places: Places) -> None:
    """Copy the proofs of the bundle into the results."""
    for proof in sorted(places.bundle.glob("proof/*.json")):
        (places.folder / "proof").mkdir(exist_ok=True)
        shutil.copy(proof, places.folder / "proof" / proof.name)


def facts_of(rehearsed: bool) -> Mapping[str, Any]:
    """What the results are of."""
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        named = subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        named = "unknown"
    return {
        "schema": SCHEMA,
        "rehearsed": rehearsed,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": named,
        "driver": driver_version(),
        "machine": dict(describe_machine().rows()),
    }


def write_result(folder: Path, facts: Mapping[str, Any], outcomes: Sequence[Outcome]) -> None:
    """The result and its page, whole or as they were before."""
    result = {
        **facts,
        "steps": [asdict(outcome) for outcome in outcomes],
        "found": found_in(folder),
    }
    text = json.dumps(result, indent=1) + "\n"
    for name, content in (("result.json", text), ("README.md", page_of(json.loads(text)))):
        beside = folder / f".{name}.part"
        beside.write_text(content, encoding="utf-8")
        beside.replace(folder / name)


def found_in(folder: Path) -> dict[str, Any]:
    """What the steps wrote, by file, without raw values; what cannot be read is named."""
    found: dict[str, Any] = {}
    for file in sorted([*folder.glob("*.json"), *folder.glob("proof/*.json")]):
        if file.name == "result.json":
            continue
        name = file.relative_to(folder).as_posix()
        try:
            found[name] = _short(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            found[name] = {"unreadable": f"{type(error).__name__}: {error}"}
    return found


def _short(document: dict[str, Any]) -> dict[str, Any]:
    """A benchmark's candidates and a profile's time; the file beside it has the rest."""
    if "candidates" in document:
        rows = [{key: row[key] for key in ("name", "figures")} for row in document["candidates"]]
        return {"candidates": rows}
    if "layers" in document:
        return {"median_ms": document["median_ms"], "layers": len(document["layers"])}
    return document


if __name__ == "__main__":
    main()
