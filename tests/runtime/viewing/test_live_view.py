"""A view in its own process: all is shown in time, and nothing ever waits for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import make_clip

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.viewing import live_view
from vidtok_edge.runtime.viewing.live_view import LiveView, ViewPlan
from vidtok_edge.runtime.viewing.shown import ShownFrame, ShownNote
from vidtok_edge.runtime.viewing.target import ViewTarget

pytest.importorskip("rerun.chunk", reason="Rerun 0.41 reads files; older ones only write them")
from rrd_files import rows_of

PICTURE = np.zeros((512, 512, 3), np.uint8)


def plan_of(bundle: Path, target: ViewTarget, **options: Any) -> ViewPlan:
    return ViewPlan(target=target, names=("cam",), bundle=bundle, **options)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_recording_with_reconstructions(tiny: Path, tmp_path: Path) -> None:
    """Frames of two sources, of which one is 11 and the other 14 frames long."""
    rng = np.random.default_rng(0)
    clips = [
        str(make_clip(tmp_path / f"{n}.mkv", rng.integers(0, 256, (n, 16, 16, 3), np.uint8)))
        for n in (11, 14)
    ]
    view = ViewTarget("file", str(tmp_path / "a.rrd"))
    done = record(
        RecordRequest(
            bundle=Bundle.load(tiny),
            sources=tuple(clips),
            output=tmp_path / "a.mcap",
            view=view,
            view_decoded=True,
            realtime=True,
        )
    )
    assert done.not_shown == 0
    rows = rows_of(tmp_path / "a.rrd")
    for source, frames in enumerate((11, 14)):
        latents = done.sources[source].latents
        place = f"/camera{source}"
        expected = {
            "frame": frames,
            "reconstruction": frames,
            "tokens": latents,
            "latency_ms": latents,
            "events": 2,
        }
        assert {what: len(rows[f"{place}/{what}"]) for what in expected} == expected
        pairs = zip(rows[f"{place}/frame"], rows[f"{place}/reconstruction"], strict=True)
        assert all(abs(a[0] - b[0]) < 2e6 for a, b in pairs), "a frame is 33 ms"


def stop_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is started from now on hangs."""
    start = BaseProcess.start

    def started(process: BaseProcess) -> None:
        start(process)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)

    monkeypatch.setattr(BaseProcess, "start", started)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_viewer_that_does_not_read_is_not_waited_for(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """Nor a process that shows nothing."""
    monkeypatch.setattr(live_view, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(live_view, "_START_S", 0.5)
    if hangs:
        stop_processes(monkeypatch)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as deaf:
        target = ViewTarget.parse(f"127.0.0.1:{deaf.getsockname()[1]}")
        options = RecordOptions(duration_s=1.5)
        request = RecordRequest(
            bundle=Bundle.load(tiny),
            sources=("synthetic:400",),
            output=tmp_path / "a.mcap",
            view=target,
            options=options,
        )
        done = record(request)
    assert done.seconds < 3, "it ended when it was told to"
    assert (done.not_shown > 0) >= hangs
    assert done.sources[0].frames_dropped == 0
    with Recording.open(tmp_path / "a.mcap") as recording:
        assert recording.indexed and not recording.damage


def test_showing_returns_at_once_and_counts_what_it_leaves_out(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_view, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(live_view, "_START_S", 0.2)
    with LiveView(plan_of(tiny, ViewTarget("file", str(tmp_path / "a.rrd")))) as view:
        os.kill(view.process_id, signal.SIGSTOP)
        view.show(ShownFrame(0, 1, PICTURE))
        wait_for(lambda: not view.waiting)  # it is being sent, to no one

        def show_300() -> None:
            for _ in range(300):
                view.show(ShownFrame(0, 1, PICTURE))

        shows = threading.Thread(target=show_300, daemon=True)
        shows.start()
        shows.join(5)
        assert not shows.is_alive()
        assert view.left_out == 300 - live_view.MOST_WAITING
    assert not view.running, "the thread was told to end, not waited for in vain"


def test_a_process_that_died_is_left_out_too(tiny: Path, tmp_path: Path) -> None:
    with LiveView(plan_of(tiny, ViewTarget("file", str(tmp_path / "a.rrd")))) as view:
        os.kill(view.process_id, signal.SIGKILL)
        os.waitid(os.P_PID, view.process_id, os.WEXITED | os.WNOWAIT)
        for _ in range(3):
            view.show(ShownNote(0, 1, "start"))
    assert view.left_out == 3


def test_a_message_that_was_cut_off_is_the_end(tmp_path: Path) -> None:
    """As kill -9 in the middle of sending leaves it; the file of what came before is finished."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    writer.send(ShownNote(0, 1, "start"))
    os.write(writer.fileno(), (1000).to_bytes(4, "big") + b"the first of a thousand bytes")
    writer.close()
    with reader:
        assert list(live_view.received(reader)) == [ShownNote(0, 1, "start")]


def test_a_signal_to_all_processes_is_for_the_one_that_records(tiny: Path, tmp_path: Path) -> None:
    """As service managers send SIGTERM."""
    path = tmp_path / "a.rrd"
    with LiveView(plan_of(tiny, ViewTarget("file", str(path)))) as view:
        wait_for(lambda: any(tmp_path.glob(".a.rrd*.part")))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(view.process_id, number)
        view.show(ShownNote(0, 1, "start"))
    assert view.left_out == 0
    assert len(rows_of(path)["/camera0/events"]) == 1
    assert not list(tmp_path.glob(".*"))


def test_no_process_is_left_when_waiting_for_it_is_interrupted(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = LiveView(plan_of(tiny, ViewTarget("file", str(tmp_path / "a.rrd"))))
    join = BaseProcess.join

    def interrupted(process: BaseProcess, timeout: float | None = None) -> None:
        if timeout is not None:
            raise KeyboardInterrupt
        join(process)

    monkeypatch.setattr(BaseProcess, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        view.close()
    wait_for(lambda: not view.running)


def test_showing_all_waits_and_gives_up(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_view, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(live_view, "_START_S", 0.2)
    with LiveView(plan_of(tiny, ViewTarget("file", str(tmp_path / "a.rrd")))) as view:
        os.kill(view.process_id, signal.SIGSTOP)
        with pytest.raises(UsageError, match=r"a\.rrd failed, or took nothing for 0\.2 s"):
            for _ in range(300):
                view.show_all(ShownFrame(0, 1, PICTURE))
        assert not view.left_out, "what was given up was said"


def test_showing_all_leaves_nothing_out(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.rrd"
    with LiveView(plan_of(tiny, ViewTarget("file", str(path)))) as view:
        for at in range(200):  # more than wait
            view.show_all(ShownFrame(0, at, PICTURE[:8, :8]))
        view.finish()
    assert [at for at, _ in rows_of(path)["/camera0/frame"]] == list(range(200))


def test_a_process_that_starts_late_is_waited_for(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a small board that is busy, for longer than for one thing to show."""
    path = tmp_path / "a.rrd"
    monkeypatch.setattr(live_view, "_PATIENCE_S", 0.1)
    stop_processes(monkeypatch)
    with LiveView(plan_of(tiny, ViewTarget("file", str(path)))) as view:

        def go_on() -> None:
            monkeypatch.setattr(live_view, "_PATIENCE_S", 10.0)
            os.kill(view.process_id, signal.SIGCONT)

        threading.Timer(0.5, go_on).start()
        for at in range(500):  # more than wait
            view.show_all(ShownFrame(0, at, PICTURE[:8, :8]))
        view.finish()
    assert [at for at, _ in rows_of(path)["/camera0/frame"]] == list(range(500))


def test_a_process_that_died_did_not_show_all(tiny: Path, tmp_path: Path) -> None:
    with LiveView(plan_of(tiny, ViewTarget("file", str(tmp_path / "a.rrd")))) as view:
        view.show_all(ShownNote(0, 1, "start"))
        os.kill(view.process_id, signal.SIGKILL)
        with pytest.raises(UsageError, match="Not everything was shown"):
            view.finish()


REPLAY = """
import signal
import sys

from vidtok_edge.cli import main
from vidtok_edge.runtime.viewing import live_view

# Where the tests run in the background of a shell script, SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
live_view._PATIENCE_S = float(sys.argv.pop(1))
main()
"""


@contextmanager
def replaying(
    bundle: Path, folder: Path, patience_s: float
) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """A replay to the viewer that the socket stands for."""
    path = folder / "a.mcap"
    record(
        RecordRequest(
            bundle=Bundle.load(bundle),
            sources=("synthetic:400",),
            output=path,
            options=RecordOptions(duration_s=0.2),
        )
    )
    with socket.create_server(("127.0.0.1", 0), backlog=8) as viewer:
        viewer.settimeout(20)
        command = [sys.executable, "-c", REPLAY, str(patience_s), "replay", str(path)]
        command += ["-b", str(bundle), "--view", f"127.0.0.1:{viewer.getsockname()[1]}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process, viewer
            finally:
                process.kill()


def test_replay_gives_up_a_viewer_that_does_not_read(tiny: Path, tmp_path: Path) -> None:
    with replaying(tiny, tmp_path, 0.3) as (process, _):
        _, said = process.communicate(timeout=20)
    assert process.returncode == 2 and "took nothing for 0.3 s" in said, said


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_replay_though_the_viewer_does_not_read(
    tiny: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with replaying(tiny, tmp_path, 60) as (process, viewer):
        viewer.accept()[0].close()  # the check, before there is a process
        with viewer.accept()[0]:
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
    assert process.returncode == code and f"ended by {number.name}" in said, said


def test_a_viewer_that_is_not_there_is_said_before_anything_is_written(
    tiny: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    request = RecordRequest(
        bundle=Bundle.load(tiny),
        sources=("synthetic",),
        output=tmp_path / "a.mcap",
        view=ViewTarget.parse(f"127.0.0.1:{port}"),
    )
    with pytest.raises(UsageError, match="No viewer answers"):
        record(request)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


SESSION = """
import signal
import sys
import time
from pathlib import Path

from vidtok_edge.runtime.viewing import live_view
from vidtok_edge.runtime.viewing.shown import ShownNote
from vidtok_edge.runtime.viewing.target import ViewTarget

live_view._PATIENCE_S = float(sys.argv[3])  # in the process that shows, too
if __name__ == "__main__":
    bundle, view = Path(sys.argv[1]), ViewTarget.parse(sys.argv[2])
    plan = live_view.ViewPlan(target=view, names=("cam",), bundle=bundle)
    view = live_view.LiveView(plan)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(view.process_id, flush=True)
    while True:
        view.show(ShownNote(0, time.time_ns(), "start"))
        time.sleep(0.01)
"""


@contextmanager
def session(
    tmp_path: Path, bundle: Path, view: object, patience_s: float
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that shows things until it is killed, at the end, and the view's number."""
    script = tmp_path / "session.py"
    script.write_text(SESSION)
    command = [sys.executable, str(script), str(bundle), str(view), str(patience_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_finished_when_the_one_that_records_is_killed(
    tiny: Path, tmp_path: Path
) -> None:
    with session(tmp_path, tiny, tmp_path / "a.rrd", 10) as (_, child):
        wait_for(lambda: any(tmp_path.glob(".a.rrd*.part")))
    wait_for(lambda: not Path(f"/proc/{child}").exists())
    assert rows_of(tmp_path / "a.rrd")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_when_the_viewer_does_not_read_either(tiny: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as deaf:
        deaf.settimeout(20)
        with session(tmp_path, tiny, f"127.0.0.1:{deaf.getsockname()[1]}", 0.2) as (_, child):
            deaf.accept()[0].close()  # the check, before there is a process
            viewer = deaf.accept()[0]
            time.sleep(0.2)  # to show something
        with viewer:
            wait_for(lambda: not Path(f"/proc/{child}").exists())


@pytest.mark.slow
def test_a_view_that_nobody_closed_keeps_no_program_from_its_end(
    tiny: Path, tmp_path: Path
) -> None:
    """As where Ctrl-C comes while it is made: both processes would wait for each other."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as deaf:
        deaf.settimeout(20)
        with session(tmp_path, tiny, f"127.0.0.1:{deaf.getsockname()[1]}", 60) as (process, _):
            deaf.accept()[0].close()  # the check, before there is a process
            with deaf.accept()[0]:
                process.send_signal(signal.SIGINT)
                process.wait(20)
