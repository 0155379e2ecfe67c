"""The process of a turn, and how it is asked for: JSON in, JSON lines out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import vidtok_edge.errors
from vidtok_edge.errors import CheckFailed, VidTokEdgeError
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.turn import Turn, run_turn
from vidtok_edge.runtime.bench.settings import Settings
from vidtok_edge.runtime.held_signals import held_signals
from vidtok_edge.runtime.manifest.plain import from_plain

__all__ = ["PROGRAM", "main", "run_in_process"]

# Ctrl-C is the parent's affair, which kills this process; its own traceback would be in the way.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from vidtok_edge.runtime.bench.measuring.worker import main; main()"
)


def run_in_process(
    candidate: Candidate,
    settings: Settings,
    progress: Callable[[float], None] = lambda share: None,
    *,
    program: str = PROGRAM,
) -> Turn:
    """A turn in a fresh process, so that start-up and memory are its own.

    Args:
        progress: is told the share that is done.
        program: Python that reads the order and prints the answer.

    Raises what the turn raised, where that is an error of ours; CheckFailed where it died.
    """
    order = {
        "candidate": asdict(candidate),
        "settings": asdict(settings),
        "spawned_ns": time.monotonic_ns(),
    }
    command = [sys.executable, "-c", program]
    process = None
    try:
        with held_signals():  # one that came inside Popen would leave a child that nobody knows
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        answer = _answer(process, json.dumps(order), progress)
    except BaseException:
        if process is not None:
            process.kill()
        raise
    finally:
        if process is not None:
            with process:
                pass  # waits for it, and closes its pipes
    if "turn" in answer:
        return from_plain(Turn, answer["turn"])
    if "error" in answer:
        kind = getattr(vidtok_edge.errors, answer["error"], CheckFailed)
        error = VidTokEdgeError.__new__(kind)  # some make their sentence from facts
        error.args = (f"{candidate}: {answer['message']}",)
        raise error
    raise CheckFailed(
        f"{candidate}: its process ended with code {process.returncode} and no result. What it "
        "printed is above; -9 is the system's answer to too little memory."
    )


def _answer(
    process: subprocess.Popen[str], order: str, progress: Callable[[float], None]
) -> dict[str, Any]:
    """The last line that the process writes: its answer, unless it died."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError), process.stdin as given:
        given.write(order)
    answer: dict[str, Any] = {}
    for line in process.stdout:
        if not line.endswith("\n"):  # it was killed while it wrote
            break
        answer = json.loads(line)
        if "progress" in answer:
            progress(answer["progress"])
    return answer


def main() -> None:
    """Read an order from standard input, run the turn, print the answer."""
    try:
        _work()
    except BrokenPipeError:  # the parent was killed: nobody waits, and nobody should read of it
        os._exit(1)


def _work() -> None:
    # Libraries print to standard output too; the answer must not be between their lines.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(answer: dict[str, object]) -> None:
        print(json.dumps(answer), file=channel, flush=True)

    text = sys.stdin.read()
    if not text:
        raise BrokenPipeError
    order = json.loads(text)
    try:
        turn = run_turn(
            from_plain(Candidate, order["candidate"]),
            from_plain(Settings, order["settings"]),
            order["spawned_ns"],
            lambda share: tell({"progress": share}),
        )
    except VidTokEdgeError as error:
        tell({"error": type(error).__name__, "message": str(error)})
    else:
        tell({"turn": asdict(turn)})
