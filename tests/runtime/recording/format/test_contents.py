"""What a recording holds: an index that lies is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcap.records import ChunkIndex, McapRecord, Statistics
from recordings import record

from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.format.scan import Scan


def test_a_chunk_that_the_index_lists_often_is_not_read_by_it(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap")
    summary = Scan.summary

    def often(scan: Scan) -> list[McapRecord]:
        found = summary(scan) or []
        chunks = [item for item in found if isinstance(item, ChunkIndex)]
        for item in found:
            if isinstance(item, Statistics):
                item.chunk_count += len(chunks)
        return found + chunks

    with Recording.open(path) as recording:
        assert recording.indexed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scan, "summary", often)
        with Recording.open(path) as recording:
            assert not recording.indexed
