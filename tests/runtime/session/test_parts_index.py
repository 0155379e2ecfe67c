"""The list of parts: gone on with, refused where it is none, read in place of its parts."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from parted import parts_of, recorded

from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.recording import Recording
from vidtok_edge.runtime.session import parts_index
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.parts_index import PartsIndex, index_of, parts_in


def test_a_list_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_index, "_MOST_REMOVED", 5)
    plan = PartsPlan(split_s=1, keep_bytes=20_000)
    output = recorded(tmp_path / "drive.mcap", plan, 200, bulk=1)
    parts = parts_of(output)
    assert len(parts) < 12 and sum(part["removed"] for part in parts) == 5
    assert {p["file"] for p in parts if not p["removed"]} == {
        path.name for path in tmp_path.glob("*.mcap")
    }


def test_a_session_goes_on_with_the_list_of_before(tmp_path: Path) -> None:
    """As after a crash: the part that was cut off counts, and is removed in its turn."""
    plan = PartsPlan(split_s=1)
    output = recorded(tmp_path / "drive.mcap", plan, 25, bulk=1)
    listed = json.loads(index_of(output).read_text())
    listed["parts"][-1] |= {"finished": False, "bytes": 0}
    index_of(output).write_text(json.dumps(listed))
    first = [part["file"] for part in listed["parts"]]
    cut = (tmp_path / first[-1]).read_bytes()[:-200]
    (tmp_path / first[-1]).write_bytes(cut)
    (tmp_path / first[0]).unlink()  # by hand
    recorded(output, plan, 15, bulk=1)
    parts = parts_of(output)
    assert [part["file"] for part in parts[:3]] == first and len(parts) == 5
    assert [part["removed"] for part in parts] == [True, False, False, False, False]
    assert parts[2]["bytes"] == len(cut) and all(part["finished"] for part in parts)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema": 2, "parts": []}',
        '{"schema": 1, "parts": [{}]}',
        '{"schema": 1, "parts": 3}',
        '{"schema": 1, "parts": [{"file": "../../etc/x", "begin_ns": 1, "end_ns": 1, "latents": 1,'
        ' "samples": 0, "bytes": 1, "finished": true, "removed": false}]}',
        '{"schema": 1, "parts": [{"file": "x", "begin_ns": true, "end_ns": 1, "latents": 1,'
        ' "samples": 0, "bytes": 1, "finished": true, "removed": false}]}',
    ],
)
def test_a_list_that_is_none_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    output = tmp_path / "drive.mcap"
    index_of(output).write_text(content)
    with pytest.raises(RecordingError, match="cannot be read as a list of parts") as failed:
        recorded(output, PartsPlan(split_s=1), 2, bulk=1)
    assert index_of(output).read_text() == content
    with closing(PartsIndex(output, PartsPlan(split_s=1), force=True)) as index:  # not held by it
        index.write()
    assert parts_of(output) == [] and failed.tb is not None


def test_a_list_stands_for_its_parts(tmp_path: Path) -> None:
    output = recorded(tmp_path / "drive.mcap", PartsPlan(split_s=1), 25, bulk=1)
    listed = json.loads(index_of(output).read_text())
    names = [part["file"] for part in listed["parts"]]
    listed["parts"][0]["removed"] = True
    index_of(output).write_text(json.dumps(listed))
    assert [path.name for path in parts_in(index_of(output))] == names[1:]
    assert parts_in(output) == [output]
    with pytest.raises(RecordingError, match="is the list of a recording in parts"):
        Recording.open(index_of(output))
    (tmp_path / names[1]).unlink()
    with pytest.raises(RecordingError, match=f"{names[1]} is listed in .* and is not there"):
        parts_in(index_of(output))
