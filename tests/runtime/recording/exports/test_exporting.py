"""Recordings as training data: what each format holds, read back with the tools of others."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from recordings import FSQ, KL, PER_LATENT, WALL, latents, record, values_of, write

from vidtok_edge.errors import OutputExists, RecordingError, UsageError
from vidtok_edge.runtime.clips.token_files import TokenFile
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.exports.exporting import CONTENTS, Exported, export_recording
from vidtok_edge.runtime.streaming.records import SourceRecords


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("tokenizer", [FSQ, KL])
def test_npz_files_are_token_files(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = record(tmp_path / "a.mcap", 10, key=6, tokenizer=tokenizer)
    done = export_recording(path, tmp_path / "out", "npz")
    assert done == Exported(episodes=2, latents=20, files=5)
    contents = read_json(tmp_path / "out" / CONTENTS)
    assert [
        (e["episode"], e["source"], e["stream"], e["latents"]) for e in contents["episodes"]
    ] == [(0, 0, 0, 6), (0, 0, 1, 4), (1, 1, 0, 6), (1, 1, 1, 4)]  # a file for each stream
    assert contents["episodes"][1]["begins"] == ["key", "", "", ""]
    assert contents["episodes"][1]["frames_real"] == [1, 4, 4, 4]
    file = TokenFile.load(tmp_path / "out" / contents["episodes"][3]["file"])
    assert file.meta is not None
    assert (file.meta.fps, file.meta.frames, file.latents) == (40, 13, 4)
    assert file.meta.weights_sha256 == tokenizer.weights_sha256
    stored = file.tokens if tokenizer is FSQ else file.mean
    np.testing.assert_array_equal(stored, [values_of(1, i, tokenizer) for i in range(4)])
    assert file.logvar is None or (file.logvar == -30).all()


def test_a_gap_ends_an_episode(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 20, sources=1)
    data = bytearray(path.read_bytes())
    data[data.index(values_bytes(7))] ^= 1  # in the second chunk: latents 5 to 9
    path.write_bytes(data)
    done = export_recording(path, tmp_path / "out", "npz")
    assert (done.broken, done.unreadable) == (1, 0) and done.damaged_bytes
    episodes = read_json(tmp_path / "out" / CONTENTS)["episodes"]
    assert [(e["first_latent"], e["latents"]) for e in episodes] == [(0, 5), (10, 10)]
    meta = TokenFile.load(tmp_path / "out" / episodes[1]["file"]).meta
    assert meta is not None and meta.frames == 37  # as a stream of its own: 1 + 9 * 4


def test_a_run_behind_a_gap_that_ends_in_a_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    camera = SourceRecords(0)
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        writer.take(camera.start("start", 0, WALL))
        for i in range(20):
            write(writer, camera, latents(0, i, last=1 if i in (0, 19) else 4))
            if i % 5 == 4:
                writer.flush()
    data = bytearray(path.read_bytes())
    data[data.index(values_bytes(7))] ^= 1
    path.write_bytes(data)
    export_recording(path, tmp_path / "out", "npz")
    episodes = read_json(tmp_path / "out" / CONTENTS)["episodes"]
    meta = TokenFile.load(tmp_path / "out" / episodes[1]["file"]).meta
    assert meta is not None and meta.frames == 1 + 8 * 4 + 1


def test_episodes_of_a_non_causal_tokenizer_are_whole_windows(tmp_path: Path) -> None:
    windows = replace(FSQ, causal=False, window=4)
    path = record(tmp_path / "a.mcap", 22, sources=1, tokenizer=windows)
    data = bytearray(path.read_bytes())
    data[data.index(values_bytes(7))] ^= 1  # in the second chunk: latents 5 to 9
    path.write_bytes(data)
    done = export_recording(path, tmp_path / "out", "npz")
    assert (done.latents, done.broken) == (12, 1)
    episodes = read_json(tmp_path / "out" / CONTENTS)["episodes"]
    assert [(e["first_latent"], e["latents"]) for e in episodes] == [(0, 4), (12, 8)]
    file = TokenFile.load(tmp_path / "out" / episodes[1]["file"])
    np.testing.assert_array_equal(file.tokens, [values_of(0, i) for i in range(12, 20)])
    assert file.meta is not None and file.meta.frames == 32


def values_bytes(index: int) -> bytes:
    from vidtok_edge.runtime.recording.format.packing import pack

    return pack(values_of(0, index), FSQ.bits)


@pytest.mark.parametrize("tokenizer", [FSQ, KL])
def test_webdataset_shards_hold_samples_in_order(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = record(tmp_path / "a.mcap", 10, tokenizer=tokenizer)
    done = export_recording(path, tmp_path / "out", "webdataset", sample_latents=4, shard_bytes=1)
    assert done == Exported(episodes=2, latents=20, files=7)  # a sample per shard
    kind, dtype = ("tokens", np.int32) if tokenizer is FSQ else ("latent", np.float16)
    found = []
    for shard in sorted((tmp_path / "out").glob("shard-*.tar")):
        with tarfile.open(shard) as tar:
            names = tar.getnames()
            key = names[0].split(".")[0]
            assert names == [f"{key}.{kind}.npy", f"{key}.json"]
            array, facts = (tar.extractfile(name) for name in names)
            assert array is not None and facts is not None
            values, sample = np.load(io.BytesIO(array.read())), json.loads(facts.read())
        assert values.dtype == dtype and sample["tokenizer"]["variant"] == tokenizer.variant
        first = sample["first_latent"]
        for i, value in enumerate(values):
            np.testing.assert_array_equal(value, values_of(sample["source"], first + i, tokenizer))
            assert sample["wall_time_ns"][i] == WALL + (first + i) * PER_LATENT
        found.append((sample["source"], first, sample["latents"]))
    assert found == [(s, first, n) for s in range(2) for first, n in ((0, 4), (4, 4), (8, 2))]


@pytest.mark.parametrize("tokenizer", [FSQ, KL])
def test_lerobot_layout(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path, out = record(tmp_path / "a.mcap", 10, key=6, tokenizer=tokenizer), tmp_path / "out"
    done = export_recording(path, out, "lerobot", task="drive")
    assert done == Exported(episodes=2, latents=20, files=5)
    info, stats = (read_json(out / "meta" / f"{name}.json") for name in ("info", "stats"))
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 10, 20)
    assert info["splits"] == {"train": "0:2"} and info["total_episodes"] == 2
    data = pq.read_table(out / info["data_path"].format(chunk_index=0, file_index=0))
    assert data.column_names == list(info["features"]) == list(stats)
    rows = data.to_pydict()
    name = "observation.tokens" if tokenizer is FSQ else "observation.latent"
    assert tuple(info["features"][name]["shape"]) == tokenizer.shape
    expected = [values_of(s, i, tokenizer) for s in range(2) for i in (*range(6), *range(4))]
    np.testing.assert_array_equal(np.array(rows[name]), expected)
    np.testing.assert_allclose(stats[name]["mean"], np.mean(expected, axis=0), rtol=1e-6)
    np.testing.assert_allclose(stats[name]["std"], np.std(expected, axis=0), rtol=1e-6)
    assert rows["index"] == list(range(20))
    assert rows["frame_index"] == [*range(10)] * 2
    assert rows["episode_index"] == [0] * 10 + [1] * 10
    assert rows["stream"] == ([0] * 6 + [1] * 4) * 2
    assert rows["latent_index"] == [*range(6), *range(4)] * 2
    assert rows["frames_real"] == [1, 4, 4, 4, 4, 4, 1, 4, 4, 4] * 2
    begins = [info["recording"]["begins"][code] for code in rows["begins"]]
    assert begins == ["start", "", "", "", "", "", "key", "", "", ""] * 2
    assert info["recording"]["sources"]["1"]["markers"] == {"start": 1, "key": 1, "end": 1}
    np.testing.assert_allclose(rows["timestamp"], np.array(rows["frame_index"]) / 10, rtol=1e-6)
    episodes = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["dataset_from_index"] == [0, 10]
    assert episodes["dataset_to_index"] == [10, 20]
    assert episodes["tasks"] == [["drive"]] * 2 and episodes["length"] == [10, 10]
    tasks = pq.read_table(out / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pydict() == {"task_index": [0], "task": ["drive"]}


def test_lerobot_takes_one_rate(tmp_path: Path) -> None:
    cameras = [SourceRecords(source) for source in range(2)]
    with RecordingWriter(tmp_path / "a.mcap", FSQ, ["a", "b"]) as writer:
        for source in range(2):
            writer.take(cameras[source].start("start", 0, WALL))
            for i in range(4):
                write(writer, cameras[source], latents(source, i, at=i * (source + 1)))
    with pytest.raises(RecordingError, match=r"different rates \(40.00, 20.00"):
        export_recording(tmp_path / "a.mcap", tmp_path / "out", "lerobot")
    assert not (tmp_path / "out").exists()


def test_a_large_lerobot_dataset_is_split_between_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.recording.exports.lerobot._FILE_BYTES", 100)
    export_recording(record(tmp_path / "a.mcap", 10), tmp_path / "out", "lerobot")
    files = sorted((tmp_path / "out/data/chunk-000").iterdir())
    assert [pq.read_table(file).num_rows for file in files] == [10, 10]
    episodes = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["data/file_index"] == [0, 1]


def test_an_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 3)
    export_recording(path, tmp_path / "out", "npz")
    with pytest.raises(OutputExists):
        export_recording(path, tmp_path / "out", "npz")
    export_recording(path, tmp_path / "out", "webdataset", force=True)
    assert not list((tmp_path / "out").glob("*.npz"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="not replaced"):
        export_recording(path, tmp_path / "mine", "npz", force=True)


def test_a_recording_without_latents_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 0)
    for format in ("npz", "webdataset", "lerobot"):
        with pytest.raises(RecordingError, match="no latent"):
            export_recording(path, tmp_path / "out", format)
