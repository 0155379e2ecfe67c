"""Workers: failures, deaths and hangs cost one task alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

from engine_trials.workers import Ended, Tool, Workers
from played_tools import open_nothing, open_tool


def heard(workers: Workers, count: int) -> dict[str, Ended]:
    """The first `count` tasks that end, by name."""
    found, end = dict[str, Ended](), time.monotonic() + 60
    while len(found) < count and not workers.unusable:
        assert time.monotonic() < end, "nothing was heard"
        said = workers.read(wait(workers.connections, 1))
        found |= {one.task: one for one in said if isinstance(one, Ended)}
    return found


def played(open_one: Callable[[], Tool], folder: Path, *tasks: str, count: int = 1) -> Workers:
    workers = Workers("worker", count, open_one, folder)
    workers.start()
    for task in tasks:
        workers.give(task, task)
    return workers


def test_a_worker_goes_on_after_a_failure_with_the_same_tool(tmp_path: Path) -> None:
    workers = played(open_tool, tmp_path, "a", "fail", "b")
    ended = heard(workers, 3)
    assert not workers.busy
    workers.close()
    assert ended["a"].value[0] == "A" and ended["a"].value[1] == ended["b"].value[1], "one process"
    assert (ended["fail"].value, ended["fail"].why) == (None, "ValueError: not this one")
    assert (tmp_path / "worker-1.log").read_text() == "opened\n"


def test_another_takes_the_place_of_a_worker_that_dies(tmp_path: Path) -> None:
    workers = played(open_tool, tmp_path, "a", "die", "b")
    ended = heard(workers, 3)
    workers.close()
    assert ended["die"].why == "worker 1 died, exit code 7"
    assert ended["a"].value[1] != ended["b"].value[1]


def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    workers = played(open_tool, tmp_path, "hang", "a", count=2)
    assert heard(workers, 1)["a"].value[0] == "A"
    assert [*workers.at_work()] == ["hang"] and workers.busy
    workers.close()
    assert workers.connections == []


def test_a_tool_that_does_not_open(tmp_path: Path) -> None:
    workers = played(open_nothing, tmp_path, "a", count=2)
    assert heard(workers, 1) == {}
    workers.close()
    assert "does not start: RuntimeError: there is no such library" in workers.unusable
