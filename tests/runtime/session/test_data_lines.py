"""Lines of JSON from pipes, files and sockets: samples are taken, the rest is told and counted."""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vidtok_edge.errors import SourceError
from vidtok_edge.runtime.session import data_lines
from vidtok_edge.runtime.session.data_lines import DataLines
from vidtok_edge.runtime.session.data_log import DataLog
from vidtok_edge.runtime.session.samples import Logged


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def line(**facts: object) -> bytes:
    return json.dumps(facts).encode() + b"\n"


def read(path: Path, content: bytes) -> tuple[list[Logged], DataLog, list[str]]:
    """What a file gives."""
    path.write_bytes(content)
    log, said = DataLog(), list[str]()
    with DataLines(str(path), log, said.append) as lines:
        lines.wait(10)
    return log.taken(), log, said


def test_lines_become_samples(tmp_path: Path) -> None:
    content = line(channel="action", values=[1, None], fields=["x", "y"])
    content += b"\n  \n" + line(channel="grip", values=2) + line(channel="task", event="open")
    content += line(channel="task", event={"a": [1]}).rstrip()  # the last one without an end
    found, log, said = read(tmp_path / "lines", content)
    assert [x.sample.channel for x in found] == ["action", "grip", "task", "task"]
    action = found[0].sample.values
    assert action is not None and action[0] == 1 and np.isnan(action[1])
    assert found[0].fields == ("x", "y")
    assert [x.sample.text for x in found[2:]] == ["open", '{"a": [1]}']
    assert not said and sum(c.refused for c in log.counts) == 0


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"{'a': 1}\n", "a line is no JSON"),
        (b"[" * 100_000 + b"\n", "a line is no JSON"),
        (b"[1, 2]\n", "a line is no sample"),
        (line(channel=3, values=[1]), "a line is no sample"),
        (line(channel="action", values=[1], speed=3), "a line is no sample"),
        (line(channel="action", values=["1"]), "values are numbers"),
        (line(channel="action", values=[True]), "values are numbers"),
        (line(channel="action", values=[1], fields="x"), "values are numbers, fields are texts"),
        (line(channel="action"), "values are numbers"),
        (line(channel="action", values=[1], time_ns="now"), "a time is no whole number"),
        (line(channel="action", values=[1], time_ns=1.5), "a time is no whole number"),
        (line(channel="action", values=[1], time_ns=10**400), "more than 292 years from now"),
        (line(channel="action", values=[1], wall_time_ns=-(10**400)), "more than 292 years"),
        (line(channel="action", values=[1], event="x"), "a line has an event and values"),
        (line(channel="no name", values=[1]), "is no name of a channel"),
        (line(channel="action", values=[1, 2]), "has 1 number in each sample"),
        (b'{"channel": "' + b"x" * (1 << 21) + b'"}\n', "a line of more than 1048576 bytes"),
    ],
)
def test_other_lines_are_left_out_counted_and_told_once(
    tmp_path: Path, bad: bytes, said: str
) -> None:
    good = line(channel="action", values=[1])
    found, log, told = read(tmp_path / "lines", good + bad + bad + good)
    assert len(found) == 2
    assert sum(counts.refused for counts in log.counts) == 2
    assert len(told) == 1 and said in told[0]


VALUES: tuple[Any, ...] = (
    None, True, 0, -1.5, 10**400, -(10**400), 2**63, 1e308, float("nan"), float("-inf"), "x",
    "\ud800", [], [1], [None], [[1]], [10**400], {}, {"a": 1}, [True], ["\ud800"], [0] * 5000,
)  # fmt: skip


def random_line(rng: random.Random) -> bytes:
    """With some of the fields of a sample, of any values, and now and then not even JSON."""
    fields = ("channel", "values", "event", "fields", "time_ns", "wall_time_ns", "other")
    facts = {name: rng.choice(VALUES) for name in fields if rng.random() < 0.5}
    if rng.random() < 0.8:
        facts["channel"] = rng.choice(("a", "b", "task", "no name", "data_gaps", "camera0/markers"))
    return json.dumps(facts).encode()[rng.choice((0, 0, 0, 1)) :]


@pytest.mark.parametrize("seed", range(4))
def test_no_line_keeps_the_reader_from_those_behind_it(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    lines = [random_line(rng) for _ in range(1000)]
    good = line(channel="good", values=[1])
    found, log, _ = read(tmp_path / "lines", b"".join(bad + b"\n" + good for bad in lines))
    assert sum(logged.sample.channel == "good" for logged in found) == len(lines)
    counted = sum(counts.taken + counts.refused for counts in log.counts)
    assert counted == 2 * len(lines)  # each became a sample or was refused, and none was both


def test_lines_of_many_texts_are_told_as_one_kind(tmp_path: Path) -> None:
    other = "".join(f"{{garbage of {chr(97 + n % 26) * (n + 1)}\n" for n in range(60))
    names = b"".join(line(channel=f"{n} 'x' {chr(97 + n % 26)}", values=[1]) for n in range(60))
    _, log, told = read(tmp_path / "lines", other.encode() + names)
    assert sum(counts.refused for counts in log.counts) == 120
    assert len(told) == 2


@pytest.mark.parametrize("character", "[\"'{a")
def test_a_name_as_long_as_a_line_may_be_is_refused_at_once(tmp_path: Path, character: str) -> None:
    """What is told of it is short, and no other thread waits for it."""
    name = character * 400_000
    content = line(channel=name, values=1, time_ns=1, wall_time_ns=1)
    content += line(channel=name, values=1, time_ns="soon") + line(channel=name, values=1)
    found, log, said = read(tmp_path / "lines", content + line(channel="action", values=1))
    assert [one.sample.channel for one in found] == ["action"]
    assert {counts.name: counts.refused for counts in log.counts} == {"others": 3, "action": 0}
    assert said and all(len(one) < 1000 for one in said)


class Slow(DataLog):
    """So slow that no reader comes to the end of thousands of lines."""

    def log(self, *args: Any, **named: Any) -> None:
        time.sleep(0.01)
        super().log(*args, **named)


@pytest.mark.parametrize("piped", [False, True])
def test_what_a_session_did_not_read_of_a_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piped: bool
) -> None:
    path, said = tmp_path / "lines", list[str]()
    path.write_bytes(line(channel="action", values=[0] * 4000) * 5000)
    log = Slow()
    with path.open("rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        with DataLines("-" if piped else str(path), log, said.append) as lines:
            pass
        lines.wait(30)
    name = "standard input" if piped else str(path)
    assert any(f"warning: {name} was not read to its end" in text for text in said)
    assert not any("no JSON" in text for text in said), "a line that was cut was taken for one"
    assert sum(counts.refused for counts in log.counts) == 0


def test_a_read_that_hangs_at_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a disk that is far away and does not answer."""
    reads, answers, said = threading.Event(), threading.Event(), list[str]()

    def hanging(file: int, buffers: list[bytearray]) -> int:
        reads.set()
        answers.wait(10)
        return 0

    path = tmp_path / "lines"
    path.write_bytes(line(channel="action", values=1))
    monkeypatch.setattr(data_lines, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(os, "readv", hanging)
    with DataLines(str(path), DataLog(), said.append) as lines:
        assert reads.wait(10)
    assert len(said) == 1 and f"warning: {path} still hangs in reading 0.1 s" in said[0]
    answers.set()
    lines.wait(10)


def test_a_pipe_as_standard_input_has_no_end_to_be_read_to(monkeypatch: pytest.MonkeyPatch) -> None:
    log, said = DataLog(), list[str]()
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as file, os.fdopen(writes, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", file)
        with DataLines("-", log, said.append) as lines:
            writer.write(line(channel="action", values=[1]))
            until(lambda: log.waiting(["action"]) == 1)
    assert not said and not lines.from_file


def test_channels_of_a_file_are_those_whose_samples_it_gave(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(line(channel="action", values=1) + line(channel="task", event="open"))
    with path.open("ab") as file:
        file.write(line(channel="no name", values=1) + line(channel="other", values="x"))
    with DataLines(str(path), DataLog(), lambda text: None) as lines:
        lines.wait(10)
    assert lines.from_file == {"action", "task"}


def test_a_pipe_is_read_on_when_its_writer_comes_again(tmp_path: Path) -> None:
    path, log = tmp_path / "pipe", DataLog()
    os.mkfifo(path)
    found: list[Logged] = []

    def holds(count: int) -> bool:
        return len(found_now(log, found)) == count

    with DataLines(str(path), log, lambda text: None):
        for number in range(2):
            with path.open("wb") as pipe:
                pipe.write(line(channel="action", values=[number]))
            until(partial(holds, number + 1))


def found_now(log: DataLog, found: list[Logged]) -> list[Logged]:
    found += log.taken()
    return found


def test_a_socket_takes_many_senders_and_tells_when_one_goes(tmp_path: Path) -> None:
    path, log, said = tmp_path / "robot.sock", DataLog(), list[str]()
    found: list[Logged] = []
    with DataLines(f"unix:{path}", log, said.append):
        senders = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for number, sender in enumerate(senders):
            sender.connect(str(path))
            sender.sendall(line(channel=f"c{number}", values=[number]))
        until(lambda: len(found_now(log, found)) == 3)
        senders[0].sendall(b'{"channel": "c0", "val')  # and goes in the middle of a line
        senders[0].close()
        until(lambda: any("closed the connection" in text for text in said))
        senders[1].sendall(line(channel="c1", values=[5]))
        until(lambda: len(found_now(log, found)) == 4)
        for sender in senders[1:]:
            sender.close()
    assert any("a line is no JSON" in text for text in said)
    assert not path.exists()


def test_a_sender_that_comes_as_the_session_ends_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is accepted when the end was told already, and its last bytes take a moment."""
    ending, said = threading.Event(), list[str]()

    def late(sockets: list[socket.socket], *others: object) -> tuple[list[socket.socket], ...]:
        ending.wait(10)
        time.sleep(0.05)
        return sockets, [], []

    class Ending(DataLines):
        def close(self) -> None:
            self._stop.set()
            ending.set()
            super().close()

        def _read_sender(self, sender: socket.socket) -> None:
            time.sleep(0.2)
            super()._read_sender(sender)

    monkeypatch.setattr(data_lines, "select", SimpleNamespace(select=late))
    with (
        Ending(f"unix:{tmp_path / 'socket'}", DataLog(), said.append),
        socket.socket(socket.AF_UNIX) as sender,
    ):
        sender.connect(str(tmp_path / "socket"))
    assert said == []


def test_a_socket_that_is_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "robot.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with (
        DataLines(f"unix:{path}", DataLog(), lambda text: None),
        pytest.raises(SourceError, match="somebody listens there"),
    ):
        DataLines(f"unix:{path}", DataLog(), lambda text: None)
    path.write_text("mine")
    with pytest.raises(SourceError, match="it is no socket"):
        DataLines(f"unix:{path}", DataLog(), lambda text: None)
    assert path.read_text() == "mine"


def test_a_socket_without_a_path_is_refused() -> None:
    with pytest.raises(SourceError, match="'unix:' names no socket"):
        DataLines("unix:", DataLog(), lambda text: None)


@pytest.mark.parametrize("spec", ["missing", "."])
def test_what_is_no_input_is_said(tmp_path: Path, spec: str) -> None:
    with pytest.raises(SourceError, match=r"Data cannot be read|is no pipe and no file"):
        DataLines(str(tmp_path / spec), DataLog(), lambda text: None)
