"""Where episodes end, and what their rows say happened before them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from recordings import FSQ, PER_LATENT, WALL, latents, record, values_of, write

from vidtok_edge.runtime.coding.packing import pack
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.exports.episodes import Gaps, Happened, Row, episodes
from vidtok_edge.runtime.recording.exports.exporting import CONTENTS, export_recording
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.streaming.records import SourceRecords

FIELD = Path(__file__).parents[3] / "field" / "recordings"
Story = Callable[["Camera"], None]
COLUMNS = "begins", "frames_dropped_before", "latents_missing_before"


class Camera:
    """Writes what happens to a camera, a latent each tenth of a second."""

    def __init__(self, writer: RecordingWriter, tokenizer: Tokenizer) -> None:
        self.writer, self.records, self.tokenizer = writer, SourceRecords(0), tokenizer
        self.at, self.index = 0, 0

    def begin(self, reason: Any) -> None:
        now = self.at * PER_LATENT - 1 if self.at else 0
        self.writer.take(self.records.start(reason, now, WALL + now, fps=40))
        self.index = 0

    def see(self, count: int) -> None:
        for _ in range(count):
            given = latents(0, self.index, at=self.at, tokenizer=self.tokenizer)
            write(self.writer, self.records, given)
            self.writer.flush()
            self.at, self.index = self.at + 1, self.index + 1

    def drop(self, frames: int, then: Any = "continue", *, ahead: int = 0) -> None:
        now = self.at * PER_LATENT - 1
        at = self.index + ahead
        self.writer.take(self.records.drop(frames, then, now, WALL + now, index=at))

    def other(self, kind: str) -> None:
        now = self.at * PER_LATENT - 1
        self.writer.take(getattr(self.records, kind)("why", now, WALL + now))


def told(path: Path, gaps: Gaps) -> tuple[list[list[tuple[Any, ...]]], Happened]:
    """Of each episode the stream, index and columns of its rows; what happened to source 0."""
    happened: list[Happened] = []

    def facts(row: Row) -> tuple[Any, ...]:
        columns = (getattr(row, name) for name in COLUMNS)
        return row.latent.stream, row.latent.index, *columns

    with Recording.open(path) as recording:
        found = [[facts(row) for row in e.rows] for e in episodes(recording, gaps, happened)]
    return found, happened[0]


def lived(path: Path, story: Story, tokenizer: Tokenizer = FSQ) -> Path:
    with RecordingWriter(path, tokenizer, ["cam"], flush_interval_s=1000) as writer:
        story(Camera(writer, tokenizer))
    return path


def eventful(camera: Camera) -> None:
    camera.begin("start")
    camera.see(2)
    camera.begin("key")
    camera.see(2)
    camera.drop(3)
    camera.drop(2)
    camera.see(2)
    camera.drop(7, "restart")
    camera.begin("restart")
    camera.see(1)
    camera.other("lost")
    camera.begin("reconnect")
    camera.see(1)
    camera.drop(4)
    camera.other("end")


ROWS = [
    [(0, 0, "start", 0, 0), (0, 1, "", 0, 0), (1, 0, "key", 0, 0), (1, 1, "", 0, 0)],
    [(1, 2, "", 5, 0), (1, 3, "", 0, 0)],
    [(2, 0, "restart", 7, 0)],
    [(3, 0, "reconnect", 0, 0)],
]


def test_an_episode_ends_where_time_was_left_out_and_at_no_key(tmp_path: Path) -> None:
    path = lived(tmp_path / "a.mcap", eventful)
    found, happened = told(path, "split")
    assert found == ROWS
    kept, _ = told(path, "keep")
    assert kept == [[row for rows in ROWS for row in rows]]
    assert happened.frames_dropped == 16  # also those that no latent follows
    counts = {"start": 1, "key": 1, "drop": 4, "restart": 1, "lost": 1, "reconnect": 1, "end": 1}
    assert happened.markers == counts and happened.end == "why" and happened.ended


def test_a_drop_counts_for_the_latent_that_it_names(tmp_path: Path) -> None:
    """Encoded chunks wait for those of other sources: the marker may be ahead of them."""

    def story(camera: Camera) -> None:
        camera.begin("start")
        camera.drop(1)
        camera.see(1)
        camera.drop(5, ahead=2)
        camera.see(4)

    found, _ = told(lived(tmp_path / "a.mcap", story), "split")
    assert [[(row[1], row[3]) for row in rows] for rows in found] == [
        [(0, 1), (1, 0), (2, 0)],
        [(3, 5), (4, 0)],
    ]


def test_windows_stay_whole_and_lose_no_count(tmp_path: Path) -> None:
    windows = replace(FSQ, causal=False, window=4)

    def story(camera: Camera) -> None:
        camera.begin("start")
        camera.see(6)  # two of them are no window
        camera.drop(9, "restart")
        camera.begin("restart")
        camera.see(6)
        camera.drop(2)
        camera.see(2)

    path = lived(tmp_path / "a.mcap", story, windows)
    found, _ = told(path, "split")
    assert [[row[:2] for row in rows] for rows in found] == [
        [(0, i) for i in range(4)],
        [(1, i) for i in range(4)],
        [(1, i) for i in range(4, 8)],
    ]
    assert [rows[0][2:] for rows in found] == [("start", 0, 0), ("restart", 9, 2), ("", 0, 0)]
    assert found[2][2][2:] == ("", 2, 0)


def test_missing_latents_are_counted_where_they_are_missing(tmp_path: Path) -> None:
    """With them the marker of a key is lost: nobody knows what began the stream."""
    path = record(tmp_path / "a.mcap", 20, sources=1, key=8)
    data = bytearray(path.read_bytes())
    data[data.index(pack(values_of(0, 7), FSQ.bits))] ^= 1  # in the second chunk: latents 5 to 9
    path.write_bytes(data)
    found, happened = told(path, "split")
    assert [len(rows) for rows in found] == [5, 10]
    assert found[1][0] == (1, 2, "unknown", 0, 5) and found[1][6] == (2, 0, "key", 0, 0)
    assert (happened.latents_missing, happened.places_missing) == (5, 1)
    kept, happened = told(path, "keep")
    assert kept == [found[0] + found[1]] and happened.latents_missing == 5


def test_latents_that_only_the_end_knows_of_are_counted(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 20, sources=1)
    data = bytearray(path.read_bytes())
    data[data.index(pack(values_of(0, 17), FSQ.bits))] ^= 1  # the last chunk of latents
    path.write_bytes(data)
    found, happened = told(path, "split")
    assert len(found) == 1 and len(found[0]) == 15
    assert (happened.latents_missing, happened.places_missing) == (5, 1)


def columns_of(output: Path, format: str) -> list[dict[str, list[Any]]]:
    """Of each episode, from what was written."""
    names = "frames_real", "frames_dropped_before"
    if format == "npz":
        found = json.loads((output / CONTENTS).read_text("utf-8"))["episodes"]
    elif format == "webdataset":
        found = []
        for shard in sorted(output.glob("*.tar")):
            with tarfile.open(shard) as tar:
                for member in tar.getmembers():
                    if member.name.endswith(".json"):
                        file = tar.extractfile(member)
                        assert file is not None
                        found.append(json.load(io.TextIOWrapper(file)))
    else:
        rows = pq.read_table(output / "data/chunk-000/file-000.parquet").to_pydict()
        found = []
        for episode in sorted(set(rows["episode_index"])):
            at = [i for i, number in enumerate(rows["episode_index"]) if number == episode]
            found.append({name: [rows[name][i] for i in at] for name in names})
    return [{name: one[name] for name in names} for one in found]


@pytest.mark.parametrize("format", ["npz", "webdataset", "lerobot"])
def test_dropped_frames_reach_every_format(tmp_path: Path, format: Any) -> None:
    """92 of 103 frames of the recording were dropped; its 4 latents are no even rows."""
    path, output = FIELD / "drops-continue.mcap", tmp_path / "out"
    done = export_recording(path, output, format)
    assert (done.episodes, done.latents, done.frames_dropped) == (4, 4, 92)
    real, dropped = (1, 4, 4, 2), (0, 18, 38, 36)
    assert columns_of(output, format) == [
        {"frames_real": [a], "frames_dropped_before": [b]}
        for a, b in zip(real, dropped, strict=True)
    ]
    kept = export_recording(path, output, format, gaps="keep", force=True)
    assert kept.episodes == 1 and kept.markers == {"start": 1, "drop": 6, "end": 1}
    (columns,) = columns_of(output, format)
    assert columns == {"frames_real": list(real), "frames_dropped_before": list(dropped)}
    assert sum(real) + sum(dropped) == 103


def test_samples_of_an_episode_that_holds_several_streams_have_keys_of_their_own(
    tmp_path: Path,
) -> None:
    path = record(tmp_path / "a.mcap", 12, sources=1, key=4)
    export_recording(path, tmp_path / "out", "webdataset", sample_latents=4, shards=1)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".json")]
    assert names == [f"e00000-{first:08}.json" for first in (0, 4, 8)]
