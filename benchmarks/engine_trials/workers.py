"""Processes that open a tool each, which takes long, and use it for one task after the other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Ended", "Opened", "Tool", "Workers"]

Tool = Callable[[Any], Any]

_LEAVE_S = 3.0
"""For a process without a task to end by itself."""


class Opened(NamedTuple):
    """A worker can begin."""

    worker: str
    seconds: float


class Ended(NamedTuple):
    """A task was done, or was not."""

    task: str
    value: Any
    """What the tool gave; None where it did not."""
    why: str
    """It was not done; empty where it was."""
    seconds: float


@dataclass(slots=True)
class _Worker:
    name: str
    process: BaseProcess
    connection: Connection
    log: Path
    ready: bool = False
    task: str | None = None
    since: float = 0.0


class Workers:
    """`count` processes, and the tasks that wait for one of them.

    Tasks go through a pipe to each worker, and what waits is kept here: a worker can be killed, or
    die, at any moment, and no other one is held up by it.

    Args:
        name: of a worker in what is told.
        count: of processes, each of its own tool.
        open_tool: is called in the process; it can be pickled, as the tasks and what a tool gives.
        logs: an existing folder, for all that a worker prints, TensorRT's own messages included.
    """

    def __init__(self, name: str, count: int, open_tool: Callable[[], Tool], logs: Path) -> None:
        self.name, self.count, self.open_tool, self.logs = name, count, open_tool, logs
        self.unusable = ""
        """Why no worker is left that could do a task; empty where one is."""
        self._context = multiprocessing.get_context("spawn")  # CUDA does not outlive a fork
        self._waiting: deque[tuple[str, Any]] = deque()
        self._workers: list[_Worker] = []
        self._started = 0

    def start(self) -> None:
        """Let the workers open their tools."""
        for _ in range(self.count):
            self._start_one()

    def _start_one(self) -> None:
        ours, theirs = self._context.Pipe()
        self._started += 1
        name = f"{self.name} {self._started}"
        log = self.logs / f"{self.name}-{self._started}.log"
        process = self._context.Process(
            target=_work, args=(self.open_tool, theirs, log), name=name, daemon=True
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(name, process, ours, log, since=time.monotonic()))

    @property
    def connections(self) -> list[Connection]:
        """To be waited for; `read` says what came."""
        return [worker.connection for worker in self._workers]

    @property
    def busy(self) -> bool:
        """Whether a task waits or is being done."""
        return bool(self._waiting) or any(worker.task for worker in self._workers)

    def give(self, name: str, task: Any) -> None:
        """Have a task done when those before it are."""
        self._waiting.append((name, task))
        self._hand_out()

    def at_work(self) -> dict[str, float]:
        """The tasks that are being done, and for how many seconds."""
        now = time.monotonic()
        return {w.task: now - w.since for w in self._workers if w.task is not None}

    def read(self, connections: Sequence[object]) -> list[Opened | Ended]:
        """What the workers say that `connections` lead to, as far as they are ours."""
        said: list[Opened | Ended] = []
        for worker in [w for w in self._workers if w.connection in connections]:
            try:
                kind, value = worker.connection.recv()
            except (EOFError, OSError):
                said += self._died(worker)
                continue
            seconds = time.monotonic() - worker.since
            if kind == "opened":
                worker.ready = True
                said.append(Opened(worker.name, seconds))
            else:
                assert worker.task is not None
                done = kind == "done"
                said.append(
                    Ended(worker.task, value if done else None, "" if done else value, seconds)
                )
                worker.task = None
        self._hand_out()
        return said

    def _died(self, worker: _Worker) -> list[Opened | Ended]:
        """Another takes its place, but for one that never had its tool: the next would not."""
        worker.process.join()
        self._workers.remove(worker)
        code = worker.process.exitcode
        if worker.task is None:
            told = worker.log.read_text("utf-8", "replace").strip().splitlines()
            last = told[-1] if told else f"exit code {code}"
            if not self._workers:
                self.unusable = f"{worker.name} does not start: {last}"
            return []
        self._start_one()
        seconds = time.monotonic() - worker.since
        return [Ended(worker.task, None, f"{worker.name} died, exit code {code}", seconds)]

    def _hand_out(self) -> None:
        for worker in self._workers:
            if self._waiting and worker.ready and worker.task is None:
                worker.task, task = self._waiting.popleft()
                worker.since = time.monotonic()
                with contextlib.suppress(OSError):  # it died; `read` will tell
                    worker.connection.send(task)

    def close(self) -> None:
        """End the workers: those that do something are killed."""
        for worker in self._workers:
            worker.connection.close()  # that one who waits for a task sees
            if worker.task is not None or not worker.ready:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(_LEAVE_S)
            worker.process.kill()
            worker.process.join()
        self._workers.clear()


def _work(open_tool: Callable[[], Tool], connection: Connection, log: Path) -> None:
    """What a worker does."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    tool = open_tool()
    connection.send(("opened", None))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("done", tool(task)))
        except Exception as error:  # whatever it is, the next task may do
            connection.send(("failed", f"{type(error).__name__}: {error}"))
