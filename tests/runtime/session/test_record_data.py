"""Samples beside what sources give: the recording has what the summary says of them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import make_clip

from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.session.data_log import DataLog
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.recorder import Recorder
from vidtok_edge.runtime.session.request import RecordRequest


@pytest.fixture
def clip(tmp_path: Path) -> str:
    frames = np.random.default_rng(0).integers(0, 256, (14, 16, 16, 3), np.uint8)
    return str(make_clip(tmp_path / "14.mkv", frames))


def request(bundle: Path, clip: str, output: Path, **options: Any) -> RecordRequest:
    return RecordRequest(bundle=Bundle.load(bundle), sources=(clip,), output=output, **options)


def test_what_is_said_of_data_is_what_the_file_has_however_soon_the_session_ends(
    tiny: Path, clip: str, tmp_path: Path
) -> None:
    lines, said, count = tmp_path / "lines", list[str](), 300_000
    lines.write_text('{"channel": "action", "values": [1, 2, NaN]}\n' * count)
    asked = request(tiny, clip, tmp_path / "x.mcap", data=(str(lines),))
    log = DataLog()
    done = record(asked, data=log, notice=said.append)
    with Recording.open(tmp_path / "x.mcap") as recording:
        written = sum(sample.channel == "action" for sample in recording.samples())
    [counts] = done.channels
    assert counts.samples == counts.not_finite == written
    # Before the first frame ten thousand are held.
    assert counts.taken == written + counts.no_frame + log.waiting(["action"])
    assert not counts.refused
    # A machine may read all of them before the clip ends.
    missed = "was not read to its end", "after the session had ended"
    all_came = written + counts.no_frame == count
    assert any(one in text for text in said for one in missed) == (not all_came)


@pytest.mark.parametrize(("channel", "told"), [("action", True), ("joints", False)])
def test_samples_behind_the_end_are_told_of_files_alone(
    tiny: Path,
    clip: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    channel: str,
    told: bool,
) -> None:
    """Others go on while a session ends: `joints` is logged by a thread."""
    lines, said, log, run = tmp_path / "lines", list[str](), DataLog(), Recorder.run
    lines.write_text('{"channel": "action", "values": 1}\n')

    def run_and_log(recorder: Recorder, stop: threading.Event) -> Any:
        while not log.counts:
            time.sleep(0.001)
        done = run(recorder, stop)
        log.log(channel, 2)
        return done

    monkeypatch.setattr(Recorder, "run", run_and_log)
    asked = request(tiny, clip, tmp_path / "x.mcap", data=(str(lines),))
    record(asked, data=log, notice=said.append)
    assert [text for text in said if "after the session had ended" in text] == [
        "warning: 1 samples were read after the session had ended, and are not in the recording"
    ] * told


def test_a_log_of_data_serves_one_session_after_another(
    tiny: Path, clip: str, tmp_path: Path
) -> None:
    log = DataLog()
    for name, count in (("a", 3), ("b", 2)):
        for number in range(count):
            log.log("arm", [number, 1], fields=["x", "y"] if not number and name == "a" else [])
        done = record(request(tiny, clip, tmp_path / f"{name}.mcap"), data=log)
        [counts] = done.channels
        assert counts.samples == counts.taken == count
        with Recording.open(tmp_path / f"{name}.mcap") as recording:
            assert len(list(recording.samples("arm"))) == count
            assert recording.data_channel("arm").fields == ("x", "y")
