"""A view in its own process: all is shown in time, and nothing ever waits for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import make_clip

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.record import RecordRequest, record
from vidtok_edge.runtime.record_options import RecordOptions
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.viewing import live_view
from vidtok_edge.runtime.viewing.live_view import LiveView, ViewPlan
from vidtok_edge.runtime.viewing.shown import ShownFrame, ShownNote
from vidtok_edge.runtime.viewing.target import ViewTarget

pytest.importorskip("rerun.chunk", reason="Rerun 0.41 reads files; older ones only write them")
from rrd_files import rows_of

PICTURE = np.zeros((512, 512, 3), np.uint8)


def plan_of(bundle: Path, target: ViewTarget, **options: Any) -> ViewPlan:
    return ViewPlan(target, ("cam",), bundle, **options)


def test_a_recording_with_reconstructions(tiny: Path, tmp_path: Path) -> None:
    """Frames of two sources, of which one is 11 and the other 14 frames long."""
    rng = np.random.default_rng(0)
    clips = [
        str(make_clip(tmp_path / f"{n}.mkv", rng.integers(0, 256, (n, 16, 16, 3), np.uint8)))
        for n in (11, 14)
    ]
    view = ViewTarget("file", str(tmp_path / "a.rrd"))
    done = record(RecordRequest(Bundle.load(tiny), tuple(clips), tmp_path / "a.mcap", view=view,
                                view_decoded=True))  # fmt: skip
    assert done.not_shown == 0
    rows = rows_of(tmp_path / "a.rrd")
    for source, frames in enumerate((11, 14)):
        latents = done.sources[source].latents
        place = f"/camera{source}"
        expected = {"frame": frames, "reconstruction": frames, "tokens": latents,
                    "latency_ms": latents, "events": 2}  # fmt: skip
        assert {what: len(rows[f"{place}/{what}"]) for what in expected} == expected
        pairs = zip(rows[f"{place}/frame"], rows[f"{place}/reconstruction"], strict=True)
        assert all(abs(a[0] - b[0]) < 1e9 for a, b in pairs)


def test_a_viewer_that_does_not_read_is_not_waited_for(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_view, "_PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as deaf:
        target = ViewTarget.parse(f"127.0.0.1:{deaf.getsockname()[1]}")
        options = RecordOptions(duration_s=1.5)
        request = RecordRequest(Bundle.load(tiny), ("synthetic:400",), tmp_path / "a.mcap",
                                view=target, options=options)  # fmt: skip
        done = record(request)
    assert done.seconds < 3, "it ended when it was told to"
    assert done.not_shown > 0
    assert done.sources[0].frames_dropped == 0
    with Recording.open(tmp_path / "a.mcap") as recording:
        assert recording.indexed and not recording.damage


def test_showing_returns_at_once_and_counts_what_it_leaves_out(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_view, "_PATIENCE_S", 0.2)
    with LiveView(plan_of(tiny, ViewTarget("file", str(tmp_path / "a.rrd")))) as view:
        assert view._process.pid is not None
        os.kill(view._process.pid, signal.SIGSTOP)

        def show_300() -> None:
            for _ in range(300):
                view.show(ShownFrame(0, 1, PICTURE))

        shows = threading.Thread(target=show_300, daemon=True)
        shows.start()
        shows.join(5)
        assert not shows.is_alive()
        assert 300 - live_view._WAITING - 5 <= view.left_out <= 300
    assert not view._process.is_alive()


def test_a_process_that_died_is_left_out_too(tiny: Path, tmp_path: Path) -> None:
    with LiveView(plan_of(tiny, ViewTarget("file", str(tmp_path / "a.rrd")))) as view:
        view._process.kill()
        view._process.join()
        for _ in range(3):
            view.show(ShownNote(0, 1, "start"))
    assert view.left_out == 3


def test_a_viewer_that_is_not_there_is_said_before_anything_is_written(
    tiny: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    request = RecordRequest(Bundle.load(tiny), ("synthetic",), tmp_path / "a.mcap",
                            view=ViewTarget.parse(f"127.0.0.1:{port}"))  # fmt: skip
    with pytest.raises(UsageError, match="No viewer answers"):
        record(request)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_when_the_one_that_records_is_killed(tiny: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from vidtok_edge.runtime.viewing.live_view import LiveView, ViewPlan
from vidtok_edge.runtime.viewing.target import ViewTarget
import time
if __name__ == "__main__":
    view = LiveView(ViewPlan(ViewTarget("file", {str(tmp_path / "a.rrd")!r}), ("cam",),
                             Path({str(tiny)!r})))
    print(view._process.pid, flush=True)
    time.sleep(60)
"""
    script = tmp_path / "session.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
    end = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
