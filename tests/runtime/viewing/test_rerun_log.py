"""What lies in an .rrd, read back with Rerun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidtok_edge.runtime.viewing.shown import ShownFrame, ShownLatent, ShownNote
from vidtok_edge.runtime.viewing.target import ViewTarget

pytest.importorskip("rerun.chunk", reason="Rerun 0.41 reads files; older ones only write them")
from rrd_files import rows_of

from vidtok_edge.runtime.viewing.rerun_log import RerunLog

AT = 1_700_000_000_123_456_789


def test_everything_is_in_the_file_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a.rrd"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    tokens = np.array([[0, 63], [7, 8]], np.int32)
    with RerunLog.open(ViewTarget("file", str(path)), ["cam", "other"], (8, 8)) as log:
        log.show(ShownFrame(0, AT, pixels))
        log.show(ShownFrame(1, AT + 1, pixels, "reconstruction"))
        log.show(
            ShownLatent(
                source=1,
                time_ns=AT + 2,
                stream=0,
                index=3,
                values=tokens,
                frame_times_ns=(),
                latency_ms=12.5,
            )
        )
        log.show(ShownNote(0, AT + 3, "drop", "3 frames, continue"))
        assert not path.exists()
    rows = rows_of(path)
    assert {place: [time for time, _ in found] for place, found in rows.items()} == {
        "/camera0/frame": [AT],
        "/camera1/reconstruction": [AT + 1],
        "/camera1/tokens": [AT + 2],
        "/camera1/latency_ms": [AT + 2],
        "/camera0/events": [AT + 3],
    }

    def only(place: str, what: str) -> Any:
        ((_, row),) = rows[place]
        (value,) = row[what]
        return value

    assert only("/camera1/latency_ms", "Scalars:scalars") == 12.5
    assert only("/camera0/events", "TextLog:text") == "drop: 3 frames, continue"
    assert only("/camera0/events", "TextLog:level") == "WARN"
    assert only("/camera0/frame", "EncodedImage:media_type") == "image/jpeg"
    picture = np.array(only("/camera1/tokens", "Image:buffer"), np.uint8).reshape(2, 2, 3)
    assert picture[0].tolist() == [[0, 0, 128], [255, 255, 128]]


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    target = ViewTarget("file", str(tmp_path / "a.rrd"))
    with pytest.raises(RuntimeError), RerunLog.open(target, ["cam"], (8, 8)) as log:
        log.show(ShownNote(0, AT, "start"))
        raise RuntimeError
    assert not list(tmp_path.iterdir())
