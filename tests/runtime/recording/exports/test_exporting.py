"""Recordings as training data: what each format holds, read back with the tools of others."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from recordings import FSQ, KL, PER_LATENT, WALL, latents, record, values_of, write

from vidtok_edge.errors import OutputExists, RecordingError, UsageError
from vidtok_edge.runtime.clips.token_files import TokenFile
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.exports.exporting import CONTENTS, Exported, export_recording
from vidtok_edge.runtime.streaming.records import SourceRecords

WIDE = replace(FSQ, levels=(8, 8, 8, 8, 8, 8), z_channels=6)  # 262144 tokens
DTYPES = {FSQ: "uint16", WIDE: "int32", KL: "float32"}


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
    from vidtok_edge.runtime.coding.packing import pack

    return pack(values_of(0, index), FSQ.bits)


@pytest.mark.parametrize("tokenizer", [FSQ, WIDE, KL])
def test_webdataset_shards_hold_samples_in_order(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = record(tmp_path / "a.mcap", 10, tokenizer=tokenizer)
    done = export_recording(path, tmp_path / "out", "webdataset", sample_latents=4)
    assert done == Exported(episodes=2, latents=20, files=7)  # a sample per shard
    kind, dtype = ("latent", "float16") if tokenizer is KL else ("tokens", DTYPES[tokenizer])
    found = []
    for shard in sorted((tmp_path / "out").glob("shard-*.tar")):
        [(key, files)] = samples_of(shard)
        values, sample = np.load(io.BytesIO(files[f"{kind}.npy"])), json.loads(files["json"])
        assert values.dtype == dtype and sample["tokenizer"]["variant"] == tokenizer.variant
        first = sample["first_latent"]
        for i, value in enumerate(values):
            np.testing.assert_array_equal(value, values_of(sample["source"], first + i, tokenizer))
            assert sample["wall_time_ns"][i] == WALL + (first + i) * PER_LATENT
        assert key == f"e{sample['episode']:05}-{first:08}"
        found.append((sample["source"], first, sample["latents"]))
    assert found == [(s, first, n) for s in range(2) for first, n in ((0, 4), (4, 4), (8, 2))]


@pytest.mark.parametrize(("asked", "shards"), [(None, 8), (2, 2), (3, 3), (20, 20)])
def test_every_reader_has_a_shard_of_its_own(
    tmp_path: Path, asked: int | None, shards: int
) -> None:
    path, out = record(tmp_path / "a.mcap", 20, sources=1), tmp_path / "out"
    export_recording(path, out, "webdataset", sample_latents=1, shards=asked)
    files = sorted(out.glob("*.tar"))
    keys = [[key for key, _ in samples_of(file)] for file in files]
    assert len(files) == shards and max(map(len, keys)) - min(map(len, keys)) <= 1
    assert sorted(key for one in keys for key in one) == [f"e00000-{i:08}" for i in range(20)]
    assert all(one == sorted(one) for one in keys)
    told = read_json(out / CONTENTS)["shards"]
    assert told == [
        {"file": file.name, "samples": len(one)} for file, one in zip(files, keys, strict=True)
    ]


def test_more_shards_than_samples_are_refused(tmp_path: Path) -> None:
    path, out = record(tmp_path / "a.mcap", 20, sources=1), tmp_path / "out"
    with pytest.raises(UsageError, match="There are 2 samples of up to 10 latents, and 3 shards"):
        export_recording(path, out, "webdataset", sample_latents=10, shards=3)
    for shards in (0, 257):
        with pytest.raises(UsageError, match="allowed: at least 1, and 1 to 256"):
            export_recording(path, out, "webdataset", shards=shards)
    assert not out.exists()


def samples_of(shard: Path) -> list[tuple[str, dict[str, bytes]]]:
    """As readers of WebDataset group files: by their name up to the first dot."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(shard) as tar:
        for member in tar.getmembers():
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            found.setdefault(key, {})[suffix] = file.read()
    return list(found.items())


def test_a_part_is_what_a_whole_export_says_of_it(tmp_path: Path) -> None:
    """Latents come each tenth of a second; sample by sample, so that each stands alone."""
    path = record(tmp_path / "a.mcap", 20, key=6)
    whole, part = tmp_path / "whole", tmp_path / "part"
    export_recording(path, whole, "lerobot")
    done = export_recording(path, part, "lerobot", source=1, start_s=0.4, end_s=1.5)
    assert (done.episodes, done.latents, done.unended) == (1, 11, 0)
    assert done.markers == {"key": 2}
    rows = pq.read_table(whole / "data/chunk-000/file-000.parquet").to_pylist()[20 + 4 : 20 + 15]
    found = pq.read_table(part / "data/chunk-000/file-000.parquet").to_pylist()
    moved = ("timestamp", "frame_index", "episode_index", "index")
    assert [{k: v for k, v in row.items() if k not in moved} for row in found] == [
        {k: v for k, v in row.items() if k not in moved} for row in rows
    ]
    for format in ("npz", "webdataset"):
        done = export_recording(path, tmp_path / format, format, source=0, start_s=0.4, end_s=0.5)
        assert (done.latents, done.markers) == (1, {})
        document = read_json(tmp_path / format / CONTENTS)
        assert list(document["sources"]) == ["0"] and len(document["episodes"]) == 1


def test_what_is_missing_before_a_part_is_not_counted_in_it(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 20, sources=1)
    data = bytearray(path.read_bytes())
    data[data.index(values_bytes(7))] ^= 1  # in the second chunk: latents 5 to 9
    path.write_bytes(data)
    counts = []
    for start_s, end_s in ((0.0, 0.45), (0.3, None), (1.0, 1.5), (1.1, None)):
        done = export_recording(
            path, tmp_path / "out", "npz", start_s=start_s, end_s=end_s, force=True
        )
        counts.append((done.latents, done.broken, done.unended))
    assert counts == [(5, 0, 0), (12, 1, 0), (5, 1, 0), (9, 0, 0)]


def test_a_part_needs_no_end_where_the_recording_goes_on(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 20, sources=1, end=False)
    for end_s, unended in ((1.0, 0), (9.0, 1), (None, 1)):
        done = export_recording(path, tmp_path / "out", "npz", end_s=end_s, force=True)
        assert done.unended == unended


def test_windows_of_a_part_lie_in_it_whole(tmp_path: Path) -> None:
    windows = replace(FSQ, causal=False, window=4)
    path = record(tmp_path / "a.mcap", 20, sources=1, tokenizer=windows)
    export_recording(path, tmp_path / "out", "npz", start_s=0.2, end_s=1.5)
    [episode] = read_json(tmp_path / "out" / CONTENTS)["episodes"]
    assert (episode["first_latent"], episode["latents"]) == (4, 8)
    assert set(episode["latents_missing_before"]) == {0}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": 2}, RecordingError, r"no source 2; it has 0 \(rtsp"),
        ({"start_s": 2.0, "end_s": 1.0}, UsageError, "is empty. Let it end later"),
        ({"end_s": float("nan")}, UsageError, "The end of the part is nan s"),
        ({"start_s": -1.0}, UsageError, "The start of the part is -1.0 s; .* from the beginning"),
        (
            {"start_s": 60.0},
            RecordingError,
            r"source 0 .*, 1 .* in that time; the last frame .* is at 0",
        ),
    ],
)
def test_parts_that_are_none(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = record(tmp_path / "a.mcap", 10)
    for format in ("npz", "webdataset", "lerobot"):
        with pytest.raises(error, match=message):
            export_recording(path, tmp_path / "out", format, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tokenizer", [FSQ, WIDE, KL])
def test_lerobot_layout(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path, out = record(tmp_path / "a.mcap", 10, key=6, tokenizer=tokenizer), tmp_path / "out"
    done = export_recording(path, out, "lerobot", task="drive")
    assert done == Exported(episodes=2, latents=20, files=6)
    info, stats = (read_json(out / "meta" / f"{name}.json") for name in ("info", "stats"))
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 10, 20)
    assert info["splits"] == {"train": "0:2"} and info["total_episodes"] == 2
    data = pq.read_table(out / info["data_path"].format(chunk_index=0, file_index=0))
    assert data.column_names == list(info["features"]) == list(stats)
    rows = data.to_pydict()
    name = "observation.latent" if tokenizer is KL else "observation.tokens"
    feature = info["features"][name]
    assert (feature["dtype"], feature["shape"]) == (DTYPES[tokenizer], [prod(tokenizer.shape)])
    assert tuple(feature["info"]["shape"]) == tokenizer.shape
    assert feature["info"]["tokenizer"]["weights_sha256"] == tokenizer.weights_sha256
    assert data.schema.field(name).type.list_size == prod(tokenizer.shape), "flat, of one length"
    of_source = [[values_of(s, i, tokenizer) for i in (*range(6), *range(4))] for s in range(2)]
    expected = np.array(of_source[0] + of_source[1])
    np.testing.assert_array_equal(np.reshape(rows[name], expected.shape), expected)
    assert all(
        set(feature) <= {"dtype", "shape", "names", "info"} for feature in info["features"].values()
    )
    require_statistics({fact: np.array(stats[name][fact]) for fact in stats[name]}, expected)
    assert rows["index"] == list(range(20))
    assert rows["frame_index"] == [*range(10)] * 2
    assert rows["episode_index"] == [0] * 10 + [1] * 10
    assert rows["stream"] == ([0] * 6 + [1] * 4) * 2
    assert rows["latent_index"] == [*range(6), *range(4)] * 2
    assert rows["frames_real"] == [1, 4, 4, 4, 4, 4, 1, 4, 4, 4] * 2
    begins = [info["features"]["begins"]["info"]["words"][code] for code in rows["begins"]]
    assert begins == ["start", "", "", "", "", "", "key", "", "", ""] * 2
    recorded = read_json(out / "meta" / "recording.json")
    assert recorded["tokenizer"] == tokenizer.to_map()
    assert recorded["sources"]["1"]["markers"] == {"start": 1, "key": 1, "end": 1}
    np.testing.assert_allclose(rows["timestamp"], np.array(rows["frame_index"]) / 10, rtol=1e-6)
    episodes = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["dataset_from_index"] == [0, 10]
    assert episodes["dataset_to_index"] == [10, 20]
    assert episodes["tasks"] == [["drive"]] * 2 and episodes["length"] == [10, 10]
    for number, values in enumerate(of_source):
        own = {fact: np.array(episodes[f"stats/{name}/{fact}"][number]) for fact in stats[name]}
        require_statistics(own, np.array(values))
    assert {key.split("/")[1] for key in episodes if key.startswith("stats/")} == set(stats)
    tasks = pq.read_table(out / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pydict() == {"task_index": [0], "task": ["drive"]}


def require_statistics(facts: dict[str, NDArray[Any]], values: NDArray[Any]) -> None:
    """Those that LeRobot writes of a column, each [m]."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    expected = {
        "min": flat.min(axis=0),
        "max": flat.max(axis=0),
        "mean": flat.mean(axis=0),
        "std": flat.std(axis=0),
        "count": np.array([len(flat)]),
        **{f"q{q:02}": np.quantile(flat, q / 100, axis=0) for q in (1, 10, 50, 90, 99)},
    }
    assert set(facts) == set(expected)
    for fact, value in expected.items():
        np.testing.assert_allclose(facts[fact], value, rtol=1e-6, err_msg=fact)


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
    assert export_recording(tmp_path / "a.mcap", tmp_path / "out", "lerobot", source=1).latents == 4


def test_a_large_lerobot_dataset_is_split_between_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.recording.exports.lerobot._FILE_BYTES", 100)
    export_recording(record(tmp_path / "a.mcap", 10), tmp_path / "out", "lerobot")
    files = sorted((tmp_path / "out/data/chunk-000").iterdir())
    assert [pq.read_table(file).num_rows for file in files] == [10, 10]
    episodes = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["data/file_index"] == [0, 1]


def test_many_episodes_are_described_in_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.recording.exports.lerobot._EPISODES", 2)
    monkeypatch.setattr("vidtok_edge.runtime.recording.exports.lerobot._FILE_BYTES", 100)
    export_recording(record(tmp_path / "a.mcap", 4, sources=3), tmp_path / "out", "lerobot")
    files = sorted((tmp_path / "out/meta/episodes/chunk-000").iterdir())
    tables = [pq.read_table(file).to_pydict() for file in files]
    assert [table["episode_index"] for table in tables] == [[0, 1], [2]]
    assert [table["meta/episodes/file_index"] for table in tables] == [[0, 0], [1]]


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
