"""Steps one after the other within a budget: a failure of one does not end the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from gpu_run.record import Outcome
from gpu_run.step import Step

__all__ = ["Ended", "Run", "run_command", "run_steps"]

LAST_LINES = 6
"""Of the log of a step that failed, in its message."""
LEAST_S = 1.0
"""Of what is left: with less nothing is begun."""
GRACE_S = 5.0
"""Of a limit, at most a quarter: in which a command that was told to end may write what it has."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None
    """None: it was stopped at its limit."""
    tail: str
    """The last lines that it printed."""


Run = Callable[[Step, float, Path], Ended]


def run_command(step: Step, limit_s: float, log: Path) -> Ended:
    """Run the command of `step`, for `limit_s` seconds at most; all that it prints goes to `log`.

    Shortly before the limit it is told to end (SIGTERM), which `bench` answers with the rounds that
    are complete. The command and what it started are killed at the limit, and where this is
    interrupted.
    """
    grace_s = min(GRACE_S, limit_s / 4)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **step.environment}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = process.wait(limit_s - grace_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    kept = [line.rsplit("\r", 1)[-1].rstrip() for line in lines if line.strip()]
    return Ended(code, "\n".join(kept[-LAST_LINES:]))


def run_steps(
    steps: Sequence[Step],
    outcomes: Sequence[Outcome],
    logs: Path,
    budget_s: float,
    *,
    changed: Callable[[Outcome, float], None],
    run: Run = run_command,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Run each step, and say in its outcome what became of it.

    Args:
        steps: in this order.
        outcomes: of the steps, none reached.
        logs: an existing folder, for NAME.txt of each.
        budget_s: of all steps together. What would not fit in what is left is skipped; what takes
            longer than it was expected to is stopped when nothing is left.
        changed: is told the outcome and the seconds left, when a step begins (its status is still
            `not reached`) and when it has ended or was skipped.
        run: runs a command.
        now: a clock in seconds.
    """
    end, found, made = now() + budget_s, dict[str, Outcome](), set[str]()
    for step, outcome in zip(steps, outcomes, strict=True):
        left = end - now()
        found[step.name] = outcome
        outcome.message = _obstacle(step, found, made, left)
        if outcome.message:
            outcome.status = "skipped"
            changed(outcome, left)
            continue
        changed(outcome, left)
        begin = now()
        try:
            ended = run(step, min(step.limit_s, left), logs / f"{step.name}.txt")
        except OSError as error:
            ended = Ended(-1, f"{step.command[0]} does not start: {error.strerror}")
        outcome.seconds = round(now() - begin, 1)
        outcome.status = "passed" if ended.code == 0 else "failed"
        if ended.code in step.leaves_at:
            made.add(step.name)
        if ended.code is None:
            why = "its limit" if left >= step.limit_s else "when the time of the run was over"
            outcome.message = f"stopped after {outcome.seconds:.0f} s, {why}; {ended.tail}"
        elif ended.code:
            outcome.message = f"exit code {ended.code}: {ended.tail}"
        changed(outcome, end - now())


def _obstacle(step: Step, found: Mapping[str, Outcome], made: Set[str], left: float) -> str:
    """Why the step is not begun; an empty text where it is."""
    for need in step.needs:
        if missing := need.missing():
            return f"needs {need.name}: {missing}"
    for name in step.after:
        if name not in found:
            return f"needs the step {name}, which is not part of this run"
        if name not in made:
            return f"needs the step {name}, which {_became(found[name])}"
    if left < max(step.expected_s, LEAST_S):
        return f"takes about {step.expected_s:.0f} s, and {max(left, 0):.0f} s are left"
    return ""


def _became(outcome: Outcome) -> str:
    return "was skipped" if outcome.status == "skipped" else "failed"
